import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechrep.bin.prepare_mosei import Hazard, PrepareConfig, fit, paper_clips, paper_folds, prepare
from speechrep.errors import InputError
from speechrep.io.csd import REQUIRED, Track, write_csd
from speechrep.io.data_dir import DataDir
from speechrep.io.data_valid import validate
from speechrep.io.mosei import Clip, _read_label_csv, find_layout, read_clips, read_folds, read_transcripts
from speechrep.io.table import read_table

METADATA = {key: "x" for key in REQUIRED if key != "root name"}
FOLDS = Path(__file__).parents[2] / "egs/mosei/conf/standard_folds"

# video: [(start, end, sentiment)] in the order of the transcript; (seconds of audio, fold)
CLIPS = {
    "-aB_c--dE1f": [(-0.487, 1.5, -1.0), (1.5, 3.0, 2.5)],  # an id like an option, a negative start
    "25522": [(0.2, 1.9, 0.0), (2.0, 2.9, -3.0)],
    "255224": [(1.6, 3.0, 1.0), (0.1, 1.5, 0.3333333)],  # the prefix pair; not in order of time
    "lost__wave1": [(0.0, 1.0, 1.0)],  # no recording
    "beyond_end1": [(0.5, 9.0, 1.0), (5.0, 6.0, 2.0), (1.0, 1.05, 1.0)],
    "valid_video": [(0.0, 2.0, 0.6666667)],
    "test__video": [(0.0, 2.0, -0.6666667), (2.0, 3.0, 0.0)],
    "no_fold_vid": [(0.0, 2.0, 1.0)],
}
FOLD_OF = {"valid_video": "valid", "test__video": "test", "un-labelled": "test"} | {
    video: "train" for video in CLIPS if video[:4] not in ("vali", "test", "no_f")
}


@pytest.fixture
def mosei(tmp_path):
    """The corpus' layout with every hazard, three seconds of noise per recording."""
    root = tmp_path / "CMU_MOSEI"
    wavs, transcripts = root / "Raw/Audio/Full/WAV_16000", root / "Raw/Transcript/Segmented/Combined"
    for folder in (wavs, transcripts, root / "folds"):
        folder.mkdir(parents=True)
    tracks = {}
    for video, clips in CLIPS.items():
        if video != "lost__wave1":
            noise = np.random.default_rng(1).normal(0, 0.1, 48000)
            soundfile.write(wavs / f"{video}.wav", noise, 16000, subtype="PCM_16")
        lines = [f"{video}___{n}___{s}___{e}___Words of {n}, a___b  c" for n, (s, e, _) in enumerate(clips)]
        (transcripts / f"{video}.txt").write_text("\n".join(lines) + "\n")
        rows = clips[::-1]  # the labels' order is not the transcripts'
        features = np.array([[sentiment, 1, 0, 0.3333333, 0, 0, 2] for *_, sentiment in rows], np.float32)
        tracks[video] = Track(features, np.array([(start, end) for start, end, _ in rows]))
    write_csd(root / "CMU_MOSEI_Labels.csd", "All Labels", tracks, METADATA)
    for fold in ("train", "valid", "test"):
        ids = [video for video, its in FOLD_OF.items() if its == fold]
        (root / f"folds/{fold}.txt").write_text("\n".join(ids) + "\n")
    return root


def run(mosei, tmp_path, **options):
    prepare(PrepareConfig(mosei_dir=str(mosei), out_dir=str(tmp_path / "data"), **options))
    return tmp_path / "data"


def hazards_of(path):
    return {tuple(line.split("\t")[i] for i in (0, 1, 3)) for line in path.read_text().splitlines()[1:]}


def test_sets_are_valid_kaldi_data_directories(mosei, tmp_path):
    data = run(mosei, tmp_path)
    for fold in ("train", "valid", "test"):
        validate(data / fold)
    train = DataDir(data / "train")
    assert train.utt_ids == [
        "-aB_c--dE1f-0000", "-aB_c--dE1f-0001", "25522-0000", "25522-0001", "255224-0000", "255224-0001",
        "beyond_end1-0000",
    ]  # fmt: skip
    assert set(train.utt2spk.values()) == {"-aB_c--dE1f", "25522", "255224", "beyond_end1"}
    assert all(utt.rsplit("-", 1)[0] == video for utt, video in train.utt2spk.items())
    assert train.segments["-aB_c--dE1f-0000"] == ("-aB_c--dE1f", 0.0, 1.5)
    assert train.segments["beyond_end1-0000"] == ("beyond_end1", 0.5, 3.0)
    assert train.utt2dur["beyond_end1-0000"] == 2.5
    assert train.text["25522-0001"] == "Words of 1, a___b c"


def test_labels_follow_their_times_not_their_rows(mosei, tmp_path):
    data = run(mosei, tmp_path)
    assert read_table(data / "train/utt2sentiment") == {
        "-aB_c--dE1f-0000": "-1", "-aB_c--dE1f-0001": "2.5", "25522-0000": "0", "25522-0001": "-3",
        "255224-0000": "1", "255224-0001": "0.333333", "beyond_end1-0000": "1",
    }  # fmt: skip
    assert read_table(data / "test/utt2emotion")["test__video-0000"] == "1 0 0.333333 0 0 2"


def test_every_hazard_is_listed_with_what_was_done(mosei, tmp_path):
    data = run(mosei, tmp_path)
    assert hazards_of(data / "hazards.tsv") == {
        ("leading_hyphen", "-aB_c--dE1f", "kept"),
        ("prefix_pair", "25522", "kept; utterances join with '-'"),
        ("not_in_order_of_time", "255224", "kept"),
        ("not_in_order_of_time", "beyond_end1", "kept"),
        ("unlabelled_video", "un-labelled", "left out"),
        ("video_in_no_fold", "no_fold_vid", "left out"),
        ("negative_start", "-aB_c--dE1f-0000", "starts at 0"),
        ("missing_wav", "lost__wave1-0000", "left out"),
        ("beyond_the_end", "beyond_end1-0000", "cut at the end"),
        ("beyond_the_end", "beyond_end1-0001", "left out"),
        ("too_short", "beyond_end1-0002", "left out"),
    }


def test_a_recording_of_another_kind_is_listed(mosei, tmp_path):
    wav = mosei / "Raw/Audio/Full/WAV_16000/25522.wav"
    soundfile.write(wav, np.repeat(soundfile.read(wav)[0][:, None], 2, 1), 16000)
    assert ("other_audio", "25522", "kept: its features need options for it") in hazards_of(
        run(mosei, tmp_path) / "hazards.tsv"
    )


def test_the_same_corpus_gives_the_same_files(mosei, tmp_path):
    first = run(mosei, tmp_path)
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    for path in mosei.rglob("*.txt"):  # as an editor leaves them that begins files with a byte order mark
        path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
    run(mosei, tmp_path)
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before


def test_without_transcripts_segments_are_numbered_by_time(mosei, tmp_path):
    for path in (mosei / "Raw/Transcript/Segmented/Combined").iterdir():
        path.unlink()
    data = run(mosei, tmp_path)
    assert read_table(data / "train/utt2sentiment")["255224-0000"] == "0.333333"
    assert read_table(data / "train/text")["255224-0000"] == "<unk>"


def test_a_clip_without_its_line_gets_a_number_of_its_own(mosei):
    path = mosei / "Raw/Transcript/Segmented/Combined/25522.txt"
    path.write_text(path.read_text().replace("___2.0___", "___2.4___"))
    clips = {clip.utt_id: clip for clip in read_clips(find_layout(mosei))}
    assert clips["25522-0000"].text
    assert (clips["25522-0002"].sentiment, clips["25522-0002"].text) == (-3.0, "")


def write_csv(path, rows):
    lines = [",file,index,start,end,label2a,label2b,label6,label7,split"]
    lines += [f"{i},{row}" for i, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n")


def test_folds_for_labels_that_bring_none(mosei, tmp_path):
    want = {
        fold: read_table(run(mosei, tmp_path) / fold / "utt2sentiment") for fold in ("train", "valid", "test")
    }
    (mosei / "folds").rename(tmp_path / "standard")
    data = run(mosei, tmp_path, default_folds=str(tmp_path / "standard"))
    assert {fold: read_table(data / fold / "utt2sentiment") for fold in want} == want


def test_the_table_of_s3prl_brings_its_own_folds(mosei, tmp_path):
    for path in (mosei / "folds").iterdir():
        path.unlink()
    (mosei / "folds").rmdir()
    rows = ["25522,0,0.2,1.9,1,0,0,0,0", "255224,0,0.1,1.5,1,1,0,2,0", "-aB_c--dE1f,1,-0.487,1.5,0,-1,1,-1,0",
            "valid_video,0,0,2,0,-1,1,-3,1", "test__video,1,2,3,1,1,0,1,2",
            "no_fold_vid,0,0,2,1,1,0,1,3"]  # fmt: skip
    write_csv(tmp_path / "labels.csv", rows)
    # Those of the toolkit are for labels that bring none.
    data = run(mosei, tmp_path, labels=str(tmp_path / "labels.csv"), default_folds=str(tmp_path / "none"))
    assert read_table(data / "train/utt2sentiment") == {
        "-aB_c--dE1f-0000": "-1", "25522-0000": "0", "255224-0001": "2",
    }  # fmt: skip
    assert read_table(data / "train/text")["255224-0001"] == "Words of 1, a___b c"
    assert read_table(data / "test/text") == {"test__video-0001": "Words of 1, a___b c"}
    assert read_table(data / "valid/utt2sentiment") == {"valid_video-0000": "-3"}
    assert not (data / "train/utt2emotion").exists()
    assert ("video_in_no_fold", "no_fold_vid", "left out") in hazards_of(data / "hazards.tsv")


def test_the_tables_index_is_no_segment_number(mosei, tmp_path):
    """It is the row in the .csd, and transcripts go in the order of time: times tell which is whose."""
    starts = [82.753, 119.919, 4.84, 13.211, 26.541, 74.083]
    number_of = {4.84: 0, 13.211: 1, 26.541: 2, 74.083: 4, 82.753: 5}  # the last one has no transcript
    lines = [f"v___{n}___{start:.4f}___{start + 3:.4f}___words at {start}" for start, n in number_of.items()]
    (mosei / "Raw/Transcript/Segmented/Combined/v.txt").write_text("\n".join(lines) + "\n")
    labels = [2, -1, 0, 1, -3, 3]
    write_csv(tmp_path / "labels.csv", [
        f"v,{row},{start},{start + 3:.3f},1,1,0,{label},0"
        for row, (start, label) in enumerate(zip(starts, labels, strict=True))
    ])  # fmt: skip
    found = read_clips(find_layout(mosei, tmp_path / "labels.csv"))
    assert [(c.number, c.start_s, c.sentiment, c.text, c.fold) for c in found] == [
        (0, 4.84, 0.0, "words at 4.84", "train"), (1, 13.211, 1.0, "words at 13.211", "train"),
        (2, 26.541, -3.0, "words at 26.541", "train"), (4, 74.083, 3.0, "words at 74.083", "train"),
        (5, 82.753, 2.0, "words at 82.753", "train"), (6, 119.919, -1.0, "", "train"),
    ]  # fmt: skip
    intervals = np.array([(start, start + 3) for start in starts])
    features = np.array(labels, np.float32)[:, None]
    write_csd(tmp_path / "labels.csd", "All Labels", {"v": Track(features, intervals)}, METADATA)
    same = read_clips(find_layout(mosei, tmp_path / "labels.csd"))
    assert [clip.utt_id for clip in same] == [clip.utt_id for clip in found]  # whichever the label file
    assert [clip.text for clip in same] == [clip.text for clip in found]


def test_a_transcripts_line_is_one_clips_the_nearest_by_both_its_times(mosei, tmp_path):
    lines = ["1.00___2.0___far", "1.02___2.0___near", "5.0___6.0___once", "8.0___9.0___other end"]
    (mosei / "Raw/Transcript/Segmented/Combined/v.txt").write_text(
        "".join(f"v___{number}___{line}\n" for number, line in enumerate(lines))
    )
    times = ["1.02,2.0", "5.0,6.0", "5.0,6.0", "8.0,9.5"]
    write_csv(tmp_path / "labels.csv", [f"v,{row},{pair},1,1,0,1,0" for row, pair in enumerate(times)])
    found = read_clips(find_layout(mosei, tmp_path / "labels.csv"))
    assert [(clip.number, clip.text) for clip in found] == [(1, "near"), (2, "once"), (4, ""), (5, "")]


@pytest.mark.parametrize(
    "row", ["25522,x,0.2,1.9,1,0,0,0,0", "25522,0,0.2,1.9,1,0,0,7,0", "25522,0,0.2", "25522,0,0,1,1,0,0,0,9"]
)
def test_a_bad_row_of_the_table_is_named(mosei, tmp_path, row):
    write_csv(tmp_path / "labels.csv", ["25522,0,0.2,1.9,1,0,0,0,0", row])
    with pytest.raises(InputError, match=r"labels\.csv:3"):
        run(mosei, tmp_path, labels=str(tmp_path / "labels.csv"))


def test_mosi_has_one_column_of_labels_and_other_folders(mosei, tmp_path):
    one = {video: Track(np.array([[s] for *_, s in clips], np.float32), np.array([c[:2] for c in clips]))
           for video, clips in CLIPS.items()}  # fmt: skip
    write_csd(mosei / "CMU_MOSEI_Labels.csd", "Opinion Segment Labels", one, METADATA)
    raw = mosei / "Raw/Audio"
    (raw / "Full/WAV_16000").rename(raw / "WAV_16000")  # and its recordings lie the other way round
    (raw / "Full").rmdir()
    (raw / "WAV_16000").rename(raw / "Full")
    (raw / "WAV_16000").mkdir()
    (raw / "Full").rename(raw / "WAV_16000/Full")
    data = run(mosei, tmp_path)
    assert read_table(data / "valid/utt2sentiment") == {"valid_video-0000": "0.666667"}
    assert not (data / "valid/utt2emotion").exists()


def test_the_standard_folds_are_those_of_the_corpus():
    digests = {"train": "aa1419ba46e8790bbc27f5a583b3398d", "valid": "ebd4319181ddafeb69b1766a2cf78309",
               "test": "fee33cea30cc93c4ea279650a5ae2442"}  # fmt: skip
    for fold, digest in digests.items():
        ids = (FOLDS / f"{fold}.txt").read_text().split()
        assert hashlib.md5("\n".join(ids).encode()).hexdigest() == digest
    fold_of = read_folds(FOLDS)
    assert [list(fold_of.values()).count(fold) for fold in ("train", "valid", "test")] == [2249, 300, 678]


def clip(video="v", number=0, start=0.0, end=2.0, sentiment=1.0):
    return Clip(video, number, start, end, sentiment)


def test_the_papers_clips_are_judged_by_their_labels_times():
    kept = [clip(end=1.0), clip(end=20.0), clip(sentiment=-0.1)]
    out = [clip(end=0.99), clip(end=20.01), clip(sentiment=0.0), clip(sentiment=0.0999)]
    assert paper_clips(kept + out) == kept


def test_the_papers_folds_are_numpys_legacy_permutation_of_sorted_videos():
    videos = [f"v{i:02d}" for i in range(20)]
    np.random.seed(29)  # the generator that the paper's code seeds
    order = np.random.permutation(20)
    fold_of = paper_folds([clip(video) for video in reversed(videos)])
    train = {videos[i] for i in order[:18]}
    assert {video for video, fold in fold_of.items() if fold != "test"} == train
    assert [video for video, fold in fold_of.items() if fold == "valid"] == [videos[order[17]]]


def test_the_papers_protocol_has_sets_of_its_own(mosei, tmp_path):
    wavs = mosei / "Raw/Audio/Full/WAV_16000"
    shutil.copy(wavs / "25522.wav", wavs / "lost__wave1.wav")  # one of so few videos is a whole set
    data = run(mosei, tmp_path, protocol="mockingjay", prefix="mini_")
    assert (data / "mini_mockingjay_train").is_dir() and (data / "mini_mockingjay_hazards.tsv").is_file()
    data = run(mosei, tmp_path, protocol="mockingjay")
    sets = {
        name: read_table(data / f"mockingjay_{name}/utt2sentiment") for name in ("train", "valid", "test")
    }
    assert not (data / "train").exists()
    videos = [{utt.rsplit("-", 1)[0] for utt in table} for table in sets.values()]
    assert not videos[0] & videos[1] | videos[0] & videos[2] | videos[1] & videos[2]
    assert all(abs(float(value)) >= 0.1 for table in sets.values() for value in table.values())


def test_a_cut_end_never_rounds_past_the_recording():
    fitted, hazards = fit(clip(end=5.0), 3.00009)
    assert fitted.end_s == 3.0
    assert hazards[0] == Hazard("beyond_the_end", "v-0000", "5.0000 s of 3.0001 s", "cut at the end")
    assert fit(clip(), None)[0] is None


def test_a_clip_of_which_the_recording_has_a_moment_is_one_hazard():
    fitted, hazards = fit(clip(start=2.95, end=5.0), 3.0)
    assert fitted is None
    assert hazards == [Hazard("beyond_the_end", "v-0000", "5.0000 s of 3.0000 s", "left out")]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / "CMU_MOSEI_Labels.csd").unlink(), "want one label file"),
        (lambda root: (root / "Raw/Audio").rename(root / "Raw/Sound"), "no folder of recordings"),
        (lambda root: (root / "Raw/Audio/Full/WAV_16000/25522.wav").write_bytes(b"RIFF"),
         r"25522\.wav: not a readable"),
        (lambda root: (root / "folds/test.txt").write_text("25522\n"),
         r"test\.txt: video '25522' is in train"),
        (lambda root: (root / "folds/test.txt").unlink(), r"test\.txt: no such file"),
        (lambda root: (root / "folds/valid.txt").write_text("other\n"), "no clip left in the valid set"),
        (lambda root: (root / "Raw/Transcript/Segmented/Combined/25522.txt").write_text("a___0___b\n"),
         r"25522\.txt:1: want '<video>___"),
    ],
)  # fmt: skip
def test_a_spoilt_corpus_is_refused_by_name(mosei, tmp_path, spoil, message):
    spoil(mosei)
    with pytest.raises(InputError, match=message):
        run(mosei, tmp_path)


@pytest.mark.parametrize(("start", "end"), [("nan", "2"), ("0", "inf")])
def test_times_are_finite(tmp_path, start, end):
    write_csv(tmp_path / "labels.csv", [f"25522,0,{start},{end},1,0,0,0,0"])
    with pytest.raises(InputError, match=r"labels\.csv:2: start"):
        _read_label_csv(tmp_path / "labels.csv")
    (tmp_path / "v.txt").write_text(f"v___7___{start}___{end}___words\n")
    with pytest.raises(InputError, match=r"v\.txt:1: want"):
        read_transcripts(tmp_path)


def test_transcript_text_may_hold_the_delimiter_and_unprintable_characters(tmp_path):
    (tmp_path / "v.txt").write_text("v___7___-0.5___2___(umm)\tit\x07s ___ fine\r\n\n")
    assert read_transcripts(tmp_path) == {"v": [(7, -0.5, 2.0, "(umm) it s ___ fine")]}

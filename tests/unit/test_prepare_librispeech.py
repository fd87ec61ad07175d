import numpy as np
import pytest
import soundfile

from speechrep.bin.prepare_librispeech import corpus_root, main, read_genders
from speechrep.errors import InputError
from speechrep.io.alignment import UNALIGNED, Interval, read_ctm, write_textgrid
from speechrep.io.data_dir import DataDir
from speechrep.io.data_valid import validate

RNG = np.random.default_rng(1)


def write_flac(path, seconds=0.5, rate=16000, channels=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (RNG.standard_normal((round(seconds * rate), channels)) * 1000).astype(np.int16)
    soundfile.write(path, samples, rate, subtype="PCM_16")


@pytest.fixture
def corpus(tmp_path):
    """Set a-b: readers 84 and 9, two utterances each; speaker ids chosen to sort otherwise as numbers."""
    root = tmp_path / "LibriSpeech"
    for reader, chapter in ((84, 121), (9, 5)):
        folder = root / "a-b" / str(reader) / str(chapter)
        for number in range(2):
            write_flac(folder / f"{reader}-{chapter}-{number:04d}.flac", 0.5 + number)
        (folder / f"{reader}-{chapter}.trans.txt").write_text(
            f"{reader}-{chapter}-0000 IT'S ONE\n{reader}-{chapter}-0001 TWO\n"
        )
    (root / "SPEAKERS.TXT").write_text(";ID|SEX\n9   | F | a-b | 1.0 | A B\n84 | M | a-b | 2.0 | C | D\n")
    return tmp_path


def prepare(corpus, *more):
    main(["--corpus", str(corpus), "--sets", "a-b", "--out-dir", str(corpus / "data"), *more])
    return DataDir(corpus / "data" / "a_b")


def test_layout_becomes_a_data_directory(corpus, capsys):
    for where in (corpus, corpus / "LibriSpeech"):
        data = prepare(where)
        validate(data.path)
        assert "4/4 utterances, " in capsys.readouterr().err
    assert data.utt_ids == ["84-121-0000", "84-121-0001", "9-5-0000", "9-5-0001"]
    assert data.spk2utt == {"84-121": ["84-121-0000", "84-121-0001"], "9-5": ["9-5-0000", "9-5-0001"]}
    assert data.spk2gender == {"84-121": "m", "9-5": "f"}
    assert data.text["9-5-0000"] == "IT'S ONE"
    assert data.utt2dur["84-121-0001"] == 1.5
    assert data.wav_scp["9-5-0001"] == str(corpus / "LibriSpeech" / "a-b" / "9" / "5" / "9-5-0001.flac")
    assert not data.has("phones.ctm")


def test_audio_only(corpus):
    for path in (corpus / "LibriSpeech").rglob("*.trans.txt"):
        path.unlink()
    assert not prepare(corpus).has("text")
    with pytest.raises(InputError, match=r"a-b: no transcripts"):
        prepare(corpus, "--audio-only-ok", "false")


FLAC = "LibriSpeech/a-b/9/5/9-5-0001.flac"
TRANS = "LibriSpeech/a-b/9/5/9-5.trans.txt"


def corrupt(path):
    path.write_bytes(b"not a flac file at all" * 10)


def empty(path):
    """Leave the header, and 0 as its number of samples; soundfile writes no bytes at all for no samples."""
    data = bytearray(path.read_bytes()[:42])
    data[4] |= 0x80  # the last block of metadata
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path.write_bytes(data)


BAD_AUDIO = {
    r"is empty: no bytes": lambda path: path.write_bytes(b""),
    r"cannot read the audio": corrupt,
    r"is at 8000 Hz, want 16000": lambda path: write_flac(path, rate=8000),
    r"has 2 channels, want mono": lambda path: write_flac(path, channels=2),
    r"is empty: its header tells of 0 samples": empty,
    r"is too short: 0\.0500 s": lambda path: write_flac(path, seconds=0.05),
    r"has no audio: .*9-5-0001\.flac is missing": lambda path: path.unlink(),
}


@pytest.mark.parametrize("message", BAD_AUDIO)
def test_bad_audio_names_file_and_utterance(message, corpus):
    BAD_AUDIO[message](corpus / FLAC)
    with pytest.raises(InputError, match=rf"9/5/9-5.*: utterance '9-5-0001'.* ?{message}"):
        prepare(corpus)
    assert not (corpus / "data" / "a_b").exists()
    assert not list((corpus / "data").glob(".*")) if (corpus / "data").exists() else True


BAD_TEXT = [
    ("9-5-0000 ONE\n", r"9-5-0001\.flac: utterance '9-5-0001' has no transcript in .*9-5\.trans\.txt"),
    ("9-5-0000 ONE\n9-5-0001 X\n9-5-0002 X\n", r"trans\.txt: utterance '9-5-0002' has no audio"),
    ("9-5-0000 ONE\n9-5-0000 X\n9-5-0001 X\n", r"trans\.txt:2: utterance '9-5-0000' is given twice"),
    ("9-5-0000 ONE\n9-5-0001\n", r"trans\.txt:2: utterance '9-5-0001' has an empty transcript"),
    ("84-121-0009 X\n9-5-0000 ONE\n", r"trans\.txt:\d: utterance '84-121-000[19]' is not one of 9-5"),
]


@pytest.mark.parametrize(("content", "message"), BAD_TEXT)
def test_bad_transcripts_name_file_and_utterance(content, message, corpus):
    (corpus / TRANS).write_text(content)
    with pytest.raises(InputError, match=message):
        prepare(corpus)


def test_the_shortest_utterance_that_is_taken(corpus):
    write_flac(corpus / FLAC, seconds=0.1)
    assert prepare(corpus).utt2dur["9-5-0001"] == 0.1


def test_bad_layout(corpus):
    root = corpus / "LibriSpeech"
    with pytest.raises(InputError, match=r"no set 'c'; there are \['a-b'\]"):
        main(["--corpus", str(corpus), "--sets", "c", "--out-dir", str(corpus / "data")])
    (root / "a-b" / "9" / "5" / "9-6-0000.flac").write_bytes(b"")
    with pytest.raises(InputError, match="utterance '9-6-0000' is not one of 9-5"):
        prepare(corpus)
    (root / "a-b" / "9" / "5" / "9-6-0000.flac").unlink()
    (root / "SPEAKERS.TXT").write_text("84 | M\n")
    with pytest.raises(InputError, match=r"a-b/9: reader 9 is not in SPEAKERS\.TXT"):
        prepare(corpus)
    (root / "SPEAKERS.TXT").write_text("9 | F | a\n9 | F | b\n9 | M | c\n")
    with pytest.raises(InputError, match=r"SPEAKERS\.TXT:3: reader 9 is M and F"):
        read_genders(root / "SPEAKERS.TXT")
    with pytest.raises(InputError, match=r"no SPEAKERS\.TXT here"):
        corpus_root(root / "a-b")


def test_failure_leaves_the_older_directory(corpus):
    prepare(corpus)
    corrupt(corpus / FLAC)
    with pytest.raises(InputError):
        prepare(corpus)
    validate(corpus / "data" / "a_b")
    assert [path.name for path in (corpus / "data").iterdir()] == ["a_b"]


def test_alignments(corpus):
    folder = corpus / "alignments" / "a-b"
    for utt_id, end_s in (("84-121-0000", 0.5), ("84-121-0001", 1.5), ("9-5-0000", 0.5)):
        path = folder.joinpath(*utt_id.split("-")[:2], f"{utt_id}.TextGrid")
        write_textgrid(path, {"phones": [Interval(0, 0.25, ""), Interval(0.25, end_s, "AH0")]})
    where = ["--alignments", str(folder.parent)]
    with pytest.raises(InputError, match=r"9-5-0001\.TextGrid: 1 of 4 .* first '9-5-0001'; at most 1\.0%"):
        prepare(corpus, *where)
    data = prepare(corpus, *where, "--max-unaligned", "0.25")
    assert read_ctm(data.path / "phones.ctm")["84-121-0001"] == [(0, 0.25, "SIL"), (0.25, 1.5, "AH0")]
    assert (data.path / UNALIGNED).read_text() == "9-5-0001 no TextGrid\n"
    made = (data.path / "phones.ctm").stat().st_mtime_ns
    data = prepare(corpus)  # for a task that needs no phones
    assert (data.path / "phones.ctm").stat().st_mtime_ns == made and (data.path / UNALIGNED).exists()
    trans = corpus / "LibriSpeech/a-b/9/5/9-5.trans.txt"
    words = trans.read_text()
    trans.write_text(words.replace("9-5-0001 ", "9-5-0001 ANOTHER "))
    assert not (prepare(corpus).path / "phones.ctm").exists()  # they are of other words
    trans.write_text(words)
    write_textgrid(folder / "9" / "5" / "9-5-0001.TextGrid", {"phones": [Interval(0, 1.7, "AA")]})
    with pytest.raises(
        InputError, match=r"utterance '9-5-0001': alignment ends at 1\.7 s, its audio at 1\.5"
    ):
        prepare(corpus, *where)


def test_real_corpora(shared_data, tmp_path):
    for corpus, sets in (
        ("digits", "train-clean dev-clean test-clean"),
        ("librispeech-real", "train-clean-100"),
    ):
        main(["--corpus", str(shared_data / corpus), "--sets", sets, "--out-dir", str(tmp_path)])
    phones = shared_data / "librispeech-phones"
    where = ["--sets", "test-other", "--out-dir", str(tmp_path), "--alignments", str(phones / "alignments")]
    main(["--corpus", str(phones), *where])
    counts = {path.name: len(DataDir(path).utt_ids) for path in tmp_path.iterdir()}
    assert counts == {
        "train_clean": 600, "dev_clean": 100, "test_clean": 100, "train_clean_100": 251, "test_other": 50,
    }  # fmt: skip
    assert len(read_ctm(tmp_path / "test_other" / "phones.ctm")) == 50


def test_a_corpus_is_never_written_over(corpus):
    root = corpus / "LibriSpeech"
    (root / "a-b").rename(root / "ab")
    before = sorted(path for path in corpus.rglob("*") if path.is_file())
    with pytest.raises(InputError, match=r"writing it would destroy .*/ab \(choose another target\)"):
        main(["--corpus", str(corpus), "--sets", "ab", "--out-dir", str(root)])
    assert before == sorted(path for path in corpus.rglob("*") if path.is_file())

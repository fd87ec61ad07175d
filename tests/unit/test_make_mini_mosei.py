import random

import numpy as np
import pytest
import soundfile

from speechrep.bin.make_mini_mosei import MARKER, MiniMoseiConfig, make_mosei, plan
from speechrep.bin.prepare_mosei import PrepareConfig, prepare
from speechrep.errors import InputError
from speechrep.io.csd import read_csd
from speechrep.io.mosei import EMOTIONS, find_layout, read_clips, read_folds
from speechrep.synthesis.opinions import LEVELS, draw_opinion

SMALL = MiniMoseiConfig(videos=(4, 1, 2), clips=2, seed=3)


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini") / "mosei"
    make_mosei(folder, SMALL, nj=2)
    return folder


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_jobs(mini, tmp_path):
    make_mosei(tmp_path / "again", SMALL, nj=1)
    assert files_of(tmp_path / "again") == files_of(mini)


def test_layout_is_the_corpus_own(mini):
    layout = find_layout(mini)
    wavs = sorted(layout.wav_dir.iterdir())
    assert layout.labels.name == "CMU_MOSEI_Labels.csd"
    assert [soundfile.info(w).samplerate for w in wavs] == [16000] * len(wavs)
    assert len(wavs) == 4 + 1 + 2 + 1 + 1  # wanted, one in no fold, one without labels
    labels = read_csd(layout.labels)
    assert labels.root_name == "All Labels"
    assert labels.metadata["dimension names"][0] == "sentiment"
    assert all(track.features.shape == (2, 7) for track in labels.tracks.values())
    assert set(labels.tracks) - {wav.stem for wav in wavs}  # one recording is missing


def test_labels_are_means_of_three_annotators(mini):
    thirds = [3 * clip.sentiment for clip in read_clips(find_layout(mini))]
    np.testing.assert_allclose(thirds, np.round(thirds), atol=1e-5)
    assert all(abs(third) <= 9 for third in thirds)


def test_annotators_differ_and_a_sentiment_is_an_emotion():
    opinions = [opinion for video in plan(MiniMoseiConfig()) for opinion in video.opinions]
    assert 0.2 < np.mean([opinion.labels[0] % 1 != 0 for opinion in opinions]) < 0.9
    for opinion in opinions:
        sentiment, emotions = opinion.labels[0], dict(zip(EMOTIONS, opinion.labels[1:], strict=True))
        assert emotions.pop("happy") == max(sentiment, 0)
        assert sorted(emotions.values()) == [0] * 4 + [max(-sentiment, 0)]


def test_hazards_are_there_and_survived(mini, tmp_path):
    prepare(PrepareConfig(mosei_dir=str(mini), out_dir=str(tmp_path / "data")))
    text = (tmp_path / "data/hazards.tsv").read_text()
    kinds = {line.split("\t")[0] for line in text.splitlines()[1:]}
    assert kinds == {
        "leading_hyphen", "prefix_pair", "not_in_order_of_time", "unlabelled_video", "video_in_no_fold",
        "negative_start", "beyond_the_end", "missing_wav",
    }  # fmt: skip
    assert len((tmp_path / "data/train/utt2sentiment").read_text().splitlines()) == 8


def test_every_fold_has_voices_of_its_own():
    videos = plan(MiniMoseiConfig())
    voices = {
        fold: {v.opinions[0].voice.variant for v in videos if v.fold == fold}
        for fold in ("train", "valid", "test")
    }
    assert not voices["train"] & (voices["valid"] | voices["test"])
    assert not voices["valid"] & voices["test"]
    assert len({video.name for video in videos}) == len(videos)


def test_words_and_manner_tell_the_sentiment():
    sentences = {level: {draw_opinion(level, random.Random(i)) for i in range(200)} for level in LEVELS}
    for level in LEVELS:
        others = set().union(*(its for other, its in sentences.items() if other != level))
        assert len(sentences[level] - others) > 50
    by_level = {}
    for video in plan(MiniMoseiConfig()):
        for opinion in video.opinions:
            by_level.setdefault(round(opinion.labels[0]), []).append(opinion.voice.pitch)
    assert np.mean(by_level[2]) > np.mean(by_level[-2]) + 10


def test_a_second_call_does_nothing_and_a_foreign_folder_is_left_alone(mini, tmp_path):
    before = (mini / MARKER).stat().st_mtime_ns
    make_mosei(mini, SMALL)
    assert (mini / MARKER).stat().st_mtime_ns == before
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        make_mosei(tmp_path, SMALL)


def test_folds_are_disjoint_and_name_every_labelled_video_but_one(mini):
    fold_of = read_folds(mini / "folds")
    labelled = set(read_csd(mini / "CMU_MOSEI_Labels.csd").tracks)
    assert len(labelled - set(fold_of)) == 1
    assert len(set(fold_of) - labelled) == 1

import hashlib
import re

import pytest
import soundfile

pytest.importorskip("espeakng_loader")

from speechrep.bin import make_mini_corpus
from speechrep.bin.make_mini_corpus import MARKER, MiniCorpusConfig, main, plan
from speechrep.errors import InputError
from speechrep.io.alignment import read_phone_textgrid

SMALL = ["--speakers", "2 1 1", "--sentences", "2"]


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_whatever_nj(tmp_path):
    for name, seed, nj in (("a", 7, 1), ("b", 7, 2), ("c", 8, 2)):
        main(["--out-dir", str(tmp_path / name), "--seed", str(seed), "--nj", str(nj), *SMALL])
    first, second, other = (digests(tmp_path / name) for name in "abc")
    assert first == second
    assert len(first) == 8 + 8 + 4 + 2  # audio, alignments, transcripts, SPEAKERS.TXT and the marker
    assert all(first[name] != other[name] for name in first if name.endswith(".flac"))


def test_layout(tmp_path):
    main(["--out-dir", str(tmp_path / "mini"), *SMALL])
    root = tmp_path / "mini" / "LibriSpeech"
    flacs = sorted(root.rglob("*.flac"))
    assert len(flacs) == 8
    for path in flacs:
        set_name, spk, chapter = path.relative_to(root).parts[:3]
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert re.fullmatch(rf"{spk}-{chapter}-\d{{4}}", path.stem)
        transcripts = (path.parent / f"{spk}-{chapter}.trans.txt").read_text()
        assert re.search(rf"^{path.stem} [A-Z' ]+$", transcripts, re.M)
        grid = tmp_path / "mini" / "alignments" / set_name / spk / chapter / f"{path.stem}.TextGrid"
        assert read_phone_textgrid(grid)[-1].end_s == pytest.approx(info.duration, abs=2e-4)
    speakers = [line for line in (root / "SPEAKERS.TXT").read_text().splitlines() if line[0] != ";"]
    assert len(speakers) == 4
    before = digests(tmp_path / "mini")
    times = [path.stat().st_mtime_ns for path in flacs]
    main(["--out-dir", str(tmp_path / "mini"), *SMALL])  # nothing to do
    assert [path.stat().st_mtime_ns for path in flacs] == times
    main(["--out-dir", str(tmp_path / "mini"), "--seed", "9", *SMALL])  # ours, so replaced
    assert digests(tmp_path / "mini") != before
    assert [path.name for path in tmp_path.iterdir()] == ["mini"]


def test_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(InputError, match="not empty and not a corpus made here"):
        main(["--out-dir", str(tmp_path), *SMALL])
    assert (tmp_path / "precious").read_text() == "x" and not (tmp_path / MARKER).exists()


def test_default_plan():
    utterances = plan(MiniCorpusConfig())
    assert len({utterance.sentence for utterance in utterances}) == len(utterances) == 24 * 22
    assert len({utterance.reader for utterance in utterances}) == 24
    with pytest.raises(InputError, match="three numbers of speakers"):
        plan(MiniCorpusConfig(speakers=(3, 0, 1)))


def test_a_sentence_that_was_drawn_before_is_drawn_anew(monkeypatch):
    config, drawn = MiniCorpusConfig(speakers=(1, 1, 1), sentences=2), iter("aabbbcddefg")
    monkeypatch.setattr(make_mini_corpus, "draw_sentence", lambda *_: next(drawn))
    assert [utterance.sentence for utterance in plan(config)] == list("abcdef")
    monkeypatch.setattr(make_mini_corpus, "draw_sentence", lambda *_: "the same")
    with pytest.raises(InputError, match="no more sentences of this length"):
        plan(config)


def test_sentences_are_drawn_by_the_seed_and_of_the_length_told():
    plans = [plan(MiniCorpusConfig(min_words=4, max_words=5, seed=seed)) for seed in (1, 1, 2)]
    first, same, other = ([utterance.sentence for utterance in its] for its in plans)
    assert first == same and first != other
    assert {len(sentence.split()) for sentence in first} == {4, 5}

"""The APC project's text archive, in: values, streaming and damage."""

import gzip
import io
import lzma
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from speechrep.bin import import_blogmel
from speechrep.bin.import_blogmel import read_blogmel
from speechrep.data.features import open_features
from speechrep.errors import InputError

FEATS = {f"utt{n}": np.random.default_rng(n).normal(size=(4 + n, 5)).astype(np.float32) for n in range(3)}
TEXT = "".join(
    f"{utt_id}\n" + "".join(" ".join(f"{float(v):.9g}" for v in row) + " \n" for row in feats) + ".\n"
    for utt_id, feats in FEATS.items()
)


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_import(tmp_path: Path, suffix: str):
    path = tmp_path / f"a.blogmel{suffix}"
    path.write_bytes({"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix](TEXT.encode()))
    import_blogmel.main(["--file", str(path), "--out-dir", str(tmp_path / "f")])
    reader = open_features(tmp_path / "f")
    assert reader.utt_ids == list(FEATS)
    assert reader.meta.frame_shift_ms == 10.0
    for utt_id, feats in FEATS.items():
        np.testing.assert_array_equal(reader.read(utt_id), feats)


def test_what_the_options_tell_is_kept_and_done(tmp_path: Path):
    (tmp_path / "a.blogmel").write_text(TEXT)
    (tmp_path / "utt2spk").write_text("utt0 a\nutt1 a\nutt2 b\n")
    words = ["--kind", "mine", "--frame-shift", "12.5", "--sample-frequency", "8000", "--compress", "true",
             "--cmvn", "speaker", "--norm-vars", "false", "--utt2spk", str(tmp_path / "utt2spk")]  # fmt: skip
    import_blogmel.main(["--file", str(tmp_path / "a.blogmel"), "--out-dir", str(tmp_path / "f"), *words])
    reader = open_features(tmp_path / "f")
    meta = reader.meta
    assert (meta.config, meta.frame_shift_ms, meta.sample_rate) == ({"kind": "mine"}, 12.5, 8000)
    assert (meta.cmvn, meta.norm_vars, meta.dtype) == ("speaker", False, "kaldi-compressed-2")
    means = {
        "a": np.concatenate([FEATS["utt0"], FEATS["utt1"]]).mean(0), "b": FEATS["utt2"].mean(0)
    }  # fmt: skip
    for utt_id, speaker in (("utt0", "a"), ("utt1", "a"), ("utt2", "b")):
        np.testing.assert_allclose(reader.read(utt_id), FEATS[utt_id] - means[speaker], atol=0.05)
    (archive,) = (tmp_path / "f").glob("feats.*.ark")
    assert archive.read_bytes().startswith(b"utt0 \0BCM ")  # method 2 packs the shortest by columns, too


def test_statistics_of_another_set(tmp_path: Path):
    first = TEXT[: TEXT.index(".\n", TEXT.index("\n.\n")) + 2]
    given = ["--global-cmvn-from", str(tmp_path / "train")]
    for name, text, words in (("train", TEXT, []), ("own", first, []), ("test", first, given)):
        (tmp_path / f"{name}.blogmel").write_text(text)
        words = ["--out-dir", str(tmp_path / name), "--cmvn", "global", *words]
        import_blogmel.main(["--file", str(tmp_path / f"{name}.blogmel"), *words])
    train, own, test = ((tmp_path / name / "cmvn.ark").read_bytes() for name in ("train", "own", "test"))
    assert test == train != own
    assert open_features(tmp_path / "test").utt_ids == ["utt0"]


def test_it_streams():
    def lines():
        for number in range(300):
            yield f"utt{number}\n".encode()
            for _ in range(100):
                yield b" ".join([b"1.25"] * 80) + b"\n"
            yield b".\n"

    tracemalloc.start()
    count = sum(len(feats) for _, feats, _ in read_blogmel(lines(), "x"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30000
    assert peak < 3_000_000  # of 9.6 MB of features


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b\n", "x:1: 2 words where an utterance's name should be"),
        ("u\n1 2\n1 2 3\n.\n", "x:3: utterance 'u': 3 values in a frame of 2"),
        ("u\n1 z\n.\n", "x:2: utterance 'u': could not convert"),
        ("u\n1 nan\n.\n", "x:2: utterance 'u': NaN, infinity"),
        ("u\n1 1e39\n.\n", "x:2: utterance 'u': NaN, infinity or beyond float32"),
        ("u\n1\n.\n", "x:2: utterance 'u': want two values per frame or more"),
        ("u\n.\n", "x:2: utterance 'u' ends without a frame"),
        ("u\n1 2\n", "x:2: ends within utterance 'u'"),
    ],
)
def test_damage(text: str, message: str):
    with pytest.raises(InputError) as caught:
        list(read_blogmel(io.BytesIO(text.encode()), "x"))
    assert message in str(caught.value)


def test_nothing_half_written_is_left(tmp_path: Path):
    (tmp_path / "a.blogmel").write_text(TEXT[:-10])
    with pytest.raises(InputError, match="ends within utterance 'utt2'"):
        import_blogmel.main(["--file", str(tmp_path / "a.blogmel"), "--out-dir", str(tmp_path / "f")])
    assert not list((tmp_path / "f").glob("*"))
    (tmp_path / "b.blogmel").write_text(TEXT + TEXT)
    with pytest.raises(InputError, match="utterance 'utt0' comes twice"):
        import_blogmel.main(["--file", str(tmp_path / "b.blogmel"), "--out-dir", str(tmp_path / "f")])
    assert not (tmp_path / "f" / "features.json").exists()
    (tmp_path / "c.blogmel.xz").write_bytes(lzma.compress(TEXT.encode())[:-20])
    with pytest.raises(InputError, match=r"c\.blogmel\.xz"):
        import_blogmel.main(["--file", str(tmp_path / "c.blogmel.xz"), "--out-dir", str(tmp_path / "f")])


@pytest.mark.parametrize(
    "words",
    [
        ["--frame-shift", "0"], ["--sample-frequency", "-1"], ["--utt2spk", "/no/such/utt2spk"],
        ["--cmvn", "speaker"], ["--file", "/no/such/file"], ["--global-cmvn-from", "/no/such/features"],
    ],
)  # fmt: skip
def test_options_that_cannot_be(tmp_path: Path, words: list[str]):
    (tmp_path / "a.blogmel").write_text(TEXT)
    for name in (".done.json", "features.json"):
        (tmp_path / "f" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "f" / name).write_text("{}")
    with pytest.raises(InputError, match=words[0] if words[0] != "--file" else words[1]):
        import_blogmel.main(["--file", str(tmp_path / "a.blogmel"), "--out-dir", str(tmp_path / "f"), *words])
    assert len(list((tmp_path / "f").iterdir())) == 2  # what was there, and nothing else


def test_an_extraction_is_not_taken_for_whole_afterwards(tmp_path: Path):
    """The archive has the name that an extraction's has."""
    (tmp_path / "f/.jobs").mkdir(parents=True)
    for name in (".done.json", ".jobs/1.json", "features.json"):
        (tmp_path / "f" / name).write_text("{}")
    (tmp_path / "a.blogmel").write_text(TEXT)
    import_blogmel.main(["--file", str(tmp_path / "a.blogmel"), "--out-dir", str(tmp_path / "f")])
    assert {path.name for path in (tmp_path / "f").glob(".*")} <= {".feats.1.ark.sums"}
    assert open_features(tmp_path / "f").meta.feature == "kaldi"

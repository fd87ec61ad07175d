"""Tables that stay on disk give what tables in memory give."""

import pickle

import numpy as np
import pytest

from speechrep.data import feature_dir
from speechrep.data.feature_dir import FeatureDir
from speechrep.errors import InputError
from speechrep.io.ark import ArkWriter
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.io.scp_index import Keys, ScpIndex, numbers_beside, open_index
from speechrep.io.table import read_table

UTTS = sorted({f"{'é' * (i % 2)}{i * 37 % 101:03d}-{i}" for i in range(200)})


def write(folder, utts=UTTS):
    """Features 3 x 2 to 5 x 2; the archive is beside the table, which names another place."""
    rng = np.random.default_rng(0)
    feats = {utt_id: rng.standard_normal((3 + i % 3, 2)).astype(np.float32) for i, utt_id in enumerate(utts)}
    with (folder / "feats.1.ark").open("wb") as stream, (folder / "feats.scp").open("w") as scp:
        writer = ArkWriter(stream)
        for utt_id in utts:
            writer.write(utt_id, feats[utt_id])
            scp.write(f"{utt_id} /moved/away/feats.1.ark:{writer.offset}\n")
    (folder / "utt2num_frames").write_text("".join(f"{utt_id} {len(x)}\n" for utt_id, x in feats.items()))
    write_meta(folder / "features.json", FeatureMeta("fbank", {}, 2, 10.0, 16000))
    return feats


def test_a_big_feature_directory_reads_as_a_small_one(tmp_path, monkeypatch):
    feats = write(tmp_path)
    small = FeatureDir(tmp_path)
    monkeypatch.setattr(feature_dir, "BIG_BYTES", 0)
    big = pickle.loads(pickle.dumps(FeatureDir(tmp_path)))
    assert isinstance(big.utt_ids, Keys) and isinstance(small.utt_ids, list)
    assert list(big.utt_ids) == small.utt_ids == UTTS
    assert (big.utt_ids[3], big.utt_ids[-1], big.utt_ids[2:4]) == (UTTS[3], UTTS[-1], UTTS[2:4])
    assert UTTS[7] in big.utt_ids and "no" not in big.utt_ids
    assert (big.num_frames == small.num_frames).all()
    for utt_id in UTTS:
        assert (big.read(utt_id, 1, 3) == feats[utt_id][1:3]).all()
    with pytest.raises(ValueError, match="no utterance zzz"):
        big.read("zzz")
    with pytest.raises(IndexError):
        big.utt_ids[len(UTTS)]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("feats.scp", "b x:0\na x:0\n"), ("feats.scp", "a x:0\na x:1\n"), ("feats.scp", "a\tx:0\n"),
        ("feats.scp", "a x:0"), ("feats.scp", ""), ("feats.scp", "a \n"), ("feats.scp", "\n"),
        ("feats.scp", "a x:0\n\xe9 x:5\n"), ("feats.scp", "a \xe9:0\nb x:5\n"),
        ("utt2num_frames", "a 3\n"), ("utt2num_frames", "a 3\nc 3\n"), ("utt2num_frames", "a 3\nbb x\n"),
        ("utt2num_frames", "a 3\nbb 3\nc 4\n"), ("utt2num_frames", "a 3\nb 4\n"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_read_the_other_way(tmp_path, name, text):
    (tmp_path / "feats.scp").write_text("a x:0\nbb x:5\n")
    (tmp_path / "utt2num_frames").write_text("a 3\nbb 4\n")
    assert numbers_beside(tmp_path / "utt2num_frames", open_index(tmp_path / "feats.scp")).tolist() == [3, 4]
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    index = open_index(tmp_path / "feats.scp")
    assert (index is None) == (name == "feats.scp")
    assert index is None or numbers_beside(tmp_path / "utt2num_frames", index) is None


def test_lookup(tmp_path):
    path = tmp_path / "x"
    path.write_text("".join(f"{utt_id} value {i}\n" for i, utt_id in enumerate(UTTS)))
    index = open_index(path)
    assert isinstance(index, ScpIndex) and dict(index) == {u: f"value {i}" for i, u in enumerate(UTTS)}
    assert index.get("nothing") is None and index.row(UTTS[5]) == 5 and index.key(5) == UTTS[5]


def test_a_table_replaced_while_in_use_is_told(tmp_path):
    (tmp_path / "t").write_text("a 1\nb 2\n")
    used, later = open_index(tmp_path / "t"), open_index(tmp_path / "t")
    assert used["b"] == "2"
    (tmp_path / "new").write_text("a 1\nc 2\n")
    (tmp_path / "new").rename(tmp_path / "t")
    assert used["b"] == "2"  # the file that it has open is still there
    for other in (later, pickle.loads(pickle.dumps(used))):
        with pytest.raises(InputError, match=r"/t: was replaced while in use"):
            other["b"]
    (tmp_path / "t").unlink()
    with pytest.raises(InputError, match=r"/t: no such file"):
        later["b"]


def test_odd_blanks_belong_to_the_value_as_in_a_small_table(tmp_path):
    (tmp_path / "t").write_text("a  x\nb \f2\v\n")
    assert dict(open_index(tmp_path / "t")) == read_table(tmp_path / "t") == {"a": "x", "b": "\f2\v"}

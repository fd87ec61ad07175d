"""Features made elsewhere, by extract_feats --feature kaldi: Kaldi tables, ESPnet's and lhotse's HDF5."""

import gzip
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from speechrep.bin import extract_feats
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.io.ark import write_ark

FEATS = {
    f"s{n // 3}-{n}": np.random.default_rng(n).normal(size=(10 + n, 7)).astype(np.float32) for n in range(6)
}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "train"
    path.mkdir(parents=True)
    (path / "utt2spk").write_text("".join(f"{utt_id} {utt_id[:2]}\n" for utt_id in FEATS))
    return path


def extract(data: Path, out: Path, *options: str) -> Path:
    words = ["--feature", "kaldi", "--data-dir", str(data), "--out-dir", str(out), "--compress", "false",
             "--cmvn", "none", "--kind", "fmllr", *options]  # fmt: skip
    extract_feats.main([*words, "--job", "1"])
    extract_feats.main(words)
    return out


def check(out: Path) -> None:
    reader = open_features(out)
    assert reader.utt_ids == list(FEATS)
    assert (reader.meta.feature, reader.meta.config, reader.meta.dim) == ("kaldi", {"kind": "fmllr"}, 7)
    for utt_id, feats in FEATS.items():
        np.testing.assert_array_equal(reader.read(utt_id), feats)
        np.testing.assert_array_equal(reader.read(utt_id, 2, 5), feats[2:5])


def write_hdf5(path: Path, **options: object) -> Path:
    with h5py.File(path, "w") as file:
        for utt_id, feats in FEATS.items():
            file.create_dataset(utt_id, data=feats, **options)
    return path


def test_kaldi_table(data_dir: Path, tmp_path: Path):
    write_ark(tmp_path / "a.ark", FEATS.items(), data_dir / "feats.scp")
    check(extract(data_dir, tmp_path / "f"))


def test_kaldi_table_elsewhere_by_set(data_dir: Path, tmp_path: Path):
    (tmp_path / "fmllr-train").mkdir()
    write_ark(tmp_path / "fmllr-train" / "a.ark", FEATS.items(), tmp_path / "fmllr-train" / "feats.scp")
    check(extract(data_dir, tmp_path / "f", "--scp", f"{tmp_path}/fmllr-{{set}}/feats.scp"))


def test_espnet_hdf5(data_dir: Path, tmp_path: Path):
    path = write_hdf5(tmp_path / "feats.1.h5", compression="gzip")
    (data_dir / "feats.scp").write_text("".join(f"{utt_id} {path}:{utt_id}\n" for utt_id in FEATS))
    check(extract(data_dir, tmp_path / "f"))


def test_hdf5_whose_keys_are_the_utterances(data_dir: Path, tmp_path: Path):
    check(extract(data_dir, tmp_path / "f", "--scp", str(write_hdf5(tmp_path / "x.h5"))))


@pytest.mark.parametrize("cuts", [False, True])
def test_lhotse_manifest(data_dir: Path, tmp_path: Path, cuts: bool):
    write_hdf5(tmp_path / "x.h5")
    rows = [{"recording_id": u, "storage_path": "gone/x.h5", "storage_key": u} for u in FEATS]
    with gzip.open(tmp_path / "feats.jsonl.gz", "wt") as stream:
        stream.writelines(json.dumps({"features": row} if cuts else row) + "\n" for row in rows)
    check(extract(data_dir, tmp_path / "f", "--scp", str(tmp_path / "feats.jsonl.gz")))


def test_what_is_wrong_is_told(data_dir: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"feats\.scp: no such file"):
        extract(data_dir, tmp_path / "f")
    path = write_hdf5(tmp_path / "x.h5")
    with h5py.File(path, "a") as file:
        del file["s0-1"], file["s0-2"]
        file["s0-2"] = np.ones((4, 9), np.float32)
    with pytest.raises(InputError, match="2 of 6 utterances are lost"):
        extract(data_dir, tmp_path / "f", "--scp", str(path))
    lost = (tmp_path / "f" / "lost_utterances").read_text()
    assert "no features of utterance 's0-1'" in lost
    assert "utterance 's0-2': 9 values per frame, the first has 7" in lost
    (tmp_path / "bad.h5").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=r"bad\.h5: not readable as HDF5"):
        extract(data_dir, tmp_path / "f", "--scp", str(tmp_path / "bad.h5"))
    (tmp_path / "bad.jsonl").write_text('{"recording_id": "a"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1: the key 'storage_key' is missing"):
        extract(data_dir, tmp_path / "f", "--scp", str(tmp_path / "bad.jsonl"))

"""Features made elsewhere, by extract_feats --feature kaldi: Kaldi tables, ESPnet's and lhotse's HDF5."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from speechrep.bin import extract_feats
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.frontend.ready import ReadyConfig, ReadySource
from speechrep.io.ark import write_ark
from speechrep.io.table import read_table, write_table

# A locale of one byte per letter, without the UTF-8 that Python takes instead.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
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


def test_what_the_files_do_not_say_is_as_told(data_dir: Path, tmp_path: Path):
    write_ark(tmp_path / "a.ark", FEATS.items(), data_dir / "feats.scp")
    meta = open_features(extract(data_dir, tmp_path / "f")).meta
    assert (meta.frame_shift_ms, meta.sample_rate) == (10, 16000)
    options = ["--frame-shift", "20", "--sample-frequency", "8000"]
    meta = open_features(extract(data_dir, tmp_path / "f", *options)).meta
    assert (meta.frame_shift_ms, meta.sample_rate) == (20, 8000)


def test_kaldi_table(data_dir: Path, tmp_path: Path):
    write_ark(tmp_path / "a.ark", FEATS.items(), data_dir / "feats.scp")
    check(extract(data_dir, tmp_path / "f"))


@pytest.mark.parametrize(("scp", "out", "what"), [("feats.scp", "d", "the data directory itself"),
                                                  ("{tmp}/e/feats.scp", "e", "where --scp is")])  # fmt: skip
def test_what_is_read_is_not_written_over(data_dir: Path, tmp_path: Path, scp: str, out: str, what: str):
    (tmp_path / "e").mkdir()
    folders = {"d": data_dir, "e": tmp_path / "e"}
    for folder in folders.values():
        write_ark(folder / "a.ark", FEATS.items(), folder / "feats.scp")
    before = {path: path.read_bytes() for path in folders[out].iterdir()}
    with pytest.raises(InputError, match=what):
        extract(data_dir, folders[out], "--scp", scp.replace("{tmp}", str(tmp_path)))
    assert {path: path.read_bytes() for path in folders[out].iterdir()} == before


def test_a_frame_shift_that_does_not_fit_the_speech_is_told(data_dir: Path, tmp_path: Path, caplog):
    write_ark(tmp_path / "a.ark", FEATS.items(), data_dir / "feats.scp")
    write_table(data_dir / "utt2dur", {utt_id: str(len(feats) / 100) for utt_id, feats in FEATS.items()})
    for shift, told in (("10", 0), ("7", 0), ("20", 1), ("4", 2)):
        extract(data_dir, tmp_path / shift, "--frame-shift", shift)
        assert caplog.text.count(" s of speech in utt2dur: is --frame-shift") == told


def test_kaldi_table_elsewhere_by_set(data_dir: Path, tmp_path: Path):
    (tmp_path / "fmllr-train").mkdir()
    write_ark(tmp_path / "fmllr-train" / "a.ark", FEATS.items(), tmp_path / "fmllr-train" / "feats.scp")
    check(extract(data_dir, tmp_path / "f", "--scp", f"{tmp_path}/fmllr-{{set}}/feats.scp"))


def test_espnet_hdf5(data_dir: Path, tmp_path: Path):
    path = write_hdf5(tmp_path / "feats.1.h5", compression="gzip")
    (data_dir / "feats.scp").write_text("".join(f"{utt_id} {path}:{utt_id}\n" for utt_id in FEATS))
    check(extract(data_dir, tmp_path / "f"))


def test_several_files_of_any_number_format(data_dir: Path, tmp_path: Path):
    """Read in turns, as utterances of two files may follow each other."""
    places = {}
    for number, dtype in enumerate((np.float64, np.float32)):
        with h5py.File(tmp_path / f"feats.{number}.h5", "w") as file:
            for utt_id in list(FEATS)[number::2]:
                file[utt_id] = FEATS[utt_id].astype(dtype)
                places[utt_id] = f"{file.filename}:{utt_id}"
    (data_dir / "feats.scp").write_text("".join(f"{utt_id} {places[utt_id]}\n" for utt_id in FEATS))
    source = ReadySource(ReadyConfig(), data_dir)
    assert {source.read(utt_id).dtype for utt_id in FEATS} == {np.dtype(np.float32)}
    check(extract(data_dir, tmp_path / "f"))


def test_silence_that_is_packed_a_thousandfold_is_read(data_dir: Path, tmp_path: Path):
    silence = np.zeros((30_000, 7), np.float32)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("s0-0", data=silence, compression="gzip", chunks=silence.shape)
    source = ReadySource(ReadyConfig(scp=f"{tmp_path}/x.h5"), data_dir)
    assert np.array_equal(source.read("s0-0"), silence)


@pytest.mark.parametrize("kind", ["ark", "h5"])
def test_an_archive_that_changed_makes_its_utterances_others(kind: str, data_dir: Path, tmp_path: Path):
    """So that they are extracted again; those of another archive are not."""
    places = {}
    for number, utts in enumerate((list(FEATS)[:2], list(FEATS)[2:])):
        path = tmp_path / f"{number}.{kind}"
        if kind == "ark":
            write_ark(path, ((utt_id, FEATS[utt_id]) for utt_id in utts), tmp_path / "part.scp")
            places |= read_table(tmp_path / "part.scp")
        else:
            with h5py.File(path, "w") as file:
                for utt_id in utts:
                    file[utt_id] = FEATS[utt_id]
            places |= {utt_id: f"{path}:{utt_id}" for utt_id in utts}
    (data_dir / "feats.scp").write_text("".join(f"{utt_id} {places[utt_id]}\n" for utt_id in FEATS))

    def identities() -> list[list[object]]:
        source = ReadySource(ReadyConfig(), data_dir)
        return [source.identity(utt_id) for utt_id in FEATS]

    before = identities()
    assert identities() == before
    os.utime(tmp_path / f"0.{kind}", ns=(0, 10**9))
    assert [one == other for one, other in zip(before, identities(), strict=True)] == [False] * 2 + [True] * 4


def test_hdf5_whose_keys_are_the_utterances(data_dir: Path, tmp_path: Path):
    check(extract(data_dir, tmp_path / "f", "--scp", str(write_hdf5(tmp_path / "x.h5"))))


@pytest.mark.parametrize("table", [True, False])
def test_a_key_of_hdf5_may_hold_a_colon(tmp_path: Path, table: bool):
    """As our own export writes those of utterances that have one."""
    data, utt_ids = tmp_path / "data", ["s0-a:1", "s0-b"]
    data.mkdir()
    (data / "utt2spk").write_text("".join(f"{utt_id} s0\n" for utt_id in utt_ids))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for n, utt_id in enumerate(utt_ids):
            file.create_dataset(utt_id, data=np.full((5, 3), n, np.float32))
    write_table(data / "feats.scp", {utt_id: f"{tmp_path}/x.h5:{utt_id}" for utt_id in utt_ids})
    scp = data / "feats.scp" if table else tmp_path / "x.h5"
    reader = open_features(extract(data, tmp_path / "f", "--scp", str(scp)))
    assert [reader.read(utt_id)[0, 0] for utt_id in utt_ids] == [0, 1]


def test_a_packed_manifest_is_utf8_whatever_the_locale(tmp_path: Path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("é-0", data=np.ones((5, 3), np.float32))
    row = {"recording_id": "é-0", "storage_path": "gone/x.h5", "storage_key": "é-0"}
    with gzip.open(tmp_path / "feats.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    script = """import pathlib, sys
from speechrep.frontend.ready import ReadyConfig, ReadySource
print(ReadySource(ReadyConfig(sys.argv[1]), pathlib.Path()).read(chr(233) + "-0").shape)"""
    words = [sys.executable, "-c", script, tmp_path / "feats.jsonl.gz"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | ASCII)
    assert done.stdout == "(5, 3)\n", done.stderr


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
        file["s1-3"][2, 3] = np.nan
    with pytest.raises(InputError, match="3 of 6 utterances are lost"):
        extract(data_dir, tmp_path / "f", "--scp", str(path))
    lost = (tmp_path / "f" / "lost_utterances").read_text()
    assert "no features of utterance 's0-1'" in lost
    assert "utterance 's0-2': 9 values per frame, the first has 7" in lost
    assert "utterance 's1-3': NaN or infinity" in lost
    (tmp_path / "bad.h5").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=r"bad\.h5: not readable as HDF5"):
        extract(data_dir, tmp_path / "f", "--scp", str(tmp_path / "bad.h5"))
    (tmp_path / "bad.jsonl").write_text('{"recording_id": "a"}\n')
    with pytest.raises(InputError, match=r"bad\.jsonl:1: the key 'storage_key' is missing"):
        extract(data_dir, tmp_path / "f", "--scp", str(tmp_path / "bad.jsonl"))


@pytest.mark.parametrize("kind", ["ark", "h5"])
def test_the_recipes_step_sees_that_archives_changed(kind: str, data_dir: Path, tmp_path: Path):
    (data_dir / "wav.scp").write_text("".join(f"{utt_id} none.wav\n" for utt_id in FEATS))
    (tmp_path / "utils").symlink_to(Path(__file__).parents[2] / "utils")
    (tmp_path / "fmllr").mkdir()
    (tmp_path / "conf.yaml").write_text(
        f"feature: kaldi\nscp: '{tmp_path}/fmllr/{{set}}.scp' # fMLLR\ncmvn: none\ncompress: false\n"
    )
    script = """set -euo pipefail
        controls=false upstreams= tasks= control_tasks= targets= upstream_from= label_shares= expdir=exp tag=t
        dumpdir=dump ngpu=0 nj=1 array_cmd= datadir=data feature=fmllr feature_config=conf.yaml pretrain=train
        labelled= dry_run=$1 verbose=1 stage_number=1 stage_name=features confs=() confdir=conf
        . utils/recipe.sh
        . utils/stages.sh
        extract_features"""

    def write(offset: float) -> None:
        feats, archive = {u: f + np.float32(offset) for u, f in FEATS.items()}, tmp_path / f"fmllr/x.{kind}"
        if kind == "ark":
            write_ark(archive, feats.items(), tmp_path / "fmllr/train.scp")
            return
        with h5py.File(archive, "w") as file:
            for utt_id, matrix in feats.items():
                file[utt_id] = matrix
        (tmp_path / "fmllr/train.scp").write_text("".join(f"{u} {archive}:{u}\n" for u in feats))

    def extracted(dry_run: str = "false") -> str:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-c", script, "bash", dry_run], cwd=tmp_path, capture_output=True, text=True,
            env=os.environ | {"PATH": path, "PYTHONPATH": str(Path(__file__).parents[2])}, check=True,
        )  # fmt: skip
        return done.stderr

    assert "train: would run: first time" in extracted("true")  # before there is a table
    write(0)
    assert "train: runs: first time" in extracted()
    assert "train: up to date" in extracted()
    write(1)
    assert f"input {tmp_path}/fmllr/x.{kind} changed" in extracted()
    for utt_id, feats in FEATS.items():
        np.testing.assert_array_equal(open_features(tmp_path / "dump/fmllr/train").read(utt_id), feats + 1)

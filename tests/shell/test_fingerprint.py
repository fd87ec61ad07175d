"""utils/fingerprint.py: what counts as a change of a step's input."""

import dataclasses
import importlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from speechrep.frontend.feature_dir import PieceWriter
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.io.model_files import write_model
from speechrep.io.store import StoreWriter

UTILS = Path(__file__).parents[2] / "utils"

# Of 26 lines, each with twice the values of the one before.
BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghijklmnopqrstuvwxyz")
)


@pytest.fixture
def fingerprint(monkeypatch):
    monkeypatch.syspath_prepend(UTILS)
    return importlib.import_module("fingerprint")


@pytest.fixture
def folder_of_step(tmp_path):
    """A function that runs a step on ``wav.scp`` in a folder, and the folder."""
    step = [sys.executable, UTILS / "step.py", "--marker", ".done/make", "--log", "log", "--in", "wav.scp"]
    step += ["--out", "out/made", "--own", "out", "--", "bash", "-c", "mkdir -p out; touch out/made"]
    return lambda: subprocess.run(step, cwd=tmp_path, capture_output=True, text=True, timeout=60), tmp_path


@pytest.mark.parametrize(
    "text",
    ["1: a\nlr: 0.1", "2001-01-01: x", "lr: 2001-99-99", "lr: !!int ''", "lr: !!timestamp x", "a: &a [*a]",
     'a: "\\UFFFFFFFF"', "[" * 3000, BOMB],
)  # fmt: skip
def test_yaml_without_plain_values_is_known_by_its_bytes(tmp_path, fingerprint, text):
    for name in ("input", "conf.yaml"):
        (tmp_path / name).write_text(text)
    assert fingerprint.fingerprint(tmp_path / "conf.yaml") == fingerprint.fingerprint(tmp_path / "input")


def test_of_a_large_folder_only_so_much_is_read(tmp_path, fingerprint, monkeypatch):
    monkeypatch.setattr(fingerprint, "CONTENT_BYTES", 10)
    for name in "ab":
        (tmp_path / name).write_text("six by")
    before = fingerprint.fingerprint(tmp_path)
    os.utime(tmp_path / "a", (0, 0))  # known by its content
    assert fingerprint.fingerprint(tmp_path) == before
    os.utime(tmp_path / "b", (0, 0))  # for which nothing was left
    assert fingerprint.fingerprint(tmp_path) != before


def test_either_ending_of_yaml_is_known_by_its_values(tmp_path, fingerprint):
    found = set()
    for number, name in enumerate(("a.yaml", "a.yml")):
        (tmp_path / name).write_text(f"lr: 1  # {number}\n")
        found.add(fingerprint.fingerprint(tmp_path / name))
    assert len(found) == 1


def test_large_files_of_another_size_or_time_are_others(tmp_path, fingerprint):
    found = set()
    for size, time_ns in ((65_000_000, 0), (65_000_001, 0), (65_000_000, 1)):
        (tmp_path / "x").touch()
        os.truncate(tmp_path / "x", size)
        os.utime(tmp_path / "x", ns=(time_ns, time_ns))
        found.add(fingerprint.fingerprint(tmp_path / "x"))
    assert len(found) == 3


def test_beyond_many_files_only_the_names_count(tmp_path, fingerprint, monkeypatch):
    monkeypatch.setattr(fingerprint, "FOLDER_FILES", 1)
    found = []
    for a, b in (("1", "1"), ("1", "2"), ("2", "2")):
        (tmp_path / "a").write_text(a)
        (tmp_path / "b").write_text(b)
        found.append(fingerprint.fingerprint(tmp_path))
    assert found[0] == found[1] != found[2]
    (tmp_path / "b").rename(tmp_path / "c")
    assert fingerprint.fingerprint(tmp_path) != found[2]


def test_what_a_link_to_a_folder_leads_to_counts(tmp_path, fingerprint):
    """A corpus is often linked into the recipe's folder."""
    for name in ("corpus", "data"):
        (tmp_path / name).mkdir()
    (tmp_path / "data/audio").symlink_to(tmp_path / "corpus")
    found = set()
    for text in "ab":
        (tmp_path / "corpus/x.flac").write_text(text)
        found.add(fingerprint.fingerprint(tmp_path / "data"))
    assert len(found) == 2


def test_a_name_in_another_encoding_is_a_name(tmp_path, fingerprint):
    found = set()
    for name in (b"\xe9", b"\xe8"):
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "w"):
            found.add(fingerprint.fingerprint(tmp_path))
        os.unlink(path)
    assert len(found) == 2


def test_what_cannot_be_read_within_a_folder_is_named(tmp_path, fingerprint, monkeypatch):
    def fails(_):
        raise OSError(5, "Input/output error")

    (tmp_path / "x").touch()
    monkeypatch.setattr(Path, "read_bytes", fails)
    with pytest.raises(OSError, match="Input/output error") as caught:
        fingerprint.fingerprint(tmp_path)
    assert caught.value.filename == str(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("lr: 1\nnum-workers: 4\nlog-interval: 3\nkeep-last: 9\n", False),
        ("lr: 1\nsave-interval: 7\n", False),
        ("lr: 1\nsave_interval: 7\nlog_interval: 3\n", False),
        ("lr: 1\naverage-last: 1\n", True),
        ("lr: 2\n", True),
    ],
)
def test_an_option_that_changes_no_result_is_no_change(tmp_path, fingerprint, text, counts):
    """A training that was interrupted goes on with other of them, and nothing that is done is done again."""
    found = set()
    for values in ("lr: 1\n", text):
        (tmp_path / "conf.yaml").write_text(values)
        found.add(fingerprint.fingerprint(tmp_path / "conf.yaml"))
    assert len(found) == 1 + counts


def test_which_states_are_averaged_is_a_change(tmp_path, fingerprint):
    for options in ("average-last: 3\nsave-interval: {}\n", "average_last: 2\nsave-interval: {}\n"):
        found = set()
        for interval in (7, 8):
            (tmp_path / "conf.yaml").write_text(options.format(interval))
            found.add(fingerprint.fingerprint(tmp_path / "conf.yaml"))
        assert len(found) == 2


def test_a_table_of_recordings_is_known_by_them(tmp_path, fingerprint, monkeypatch):
    """Not by what else lies in their folders, such as a transcript that is corrected."""
    monkeypatch.chdir(tmp_path)
    names = ("a.flac", "b:1", "c.ark", "d.sph", "e f.sph", "x.txt", "long name.wav")
    for name in names:
        Path(name).write_text("before")
    Path("wav.scp").write_bytes(
        b"u1 a.flac\nu2  b:1\nu3\tc.ark:13\nu4 c.ark:99 \nu5 sph2pipe 'e f.sph' d.sph |\n"
        b"u5b cat 'x y.txt |\nu6 gone.flac\n\nu7 \xe9\0\nalone\nu8 long name.wav\nu9 a.flac/x\nu10 "
        + 300 * b"x"
        + b"\n"
    )
    before = fingerprint.fingerprint("wav.scp")
    changed = []
    for name in (*names, "gone.flac"):
        Path(name).write_text("after")
        if fingerprint.fingerprint("wav.scp") != before:
            changed.append(name)
        before = fingerprint.fingerprint("wav.scp")
    assert changed == [*names[:5], "long name.wav", "gone.flac"]
    Path("other.scp").write_bytes(Path("wav.scp").read_bytes())
    Path("wav.scp").write_text("u1 a.flac\n")
    assert fingerprint.fingerprint("wav.scp") != before


@pytest.mark.parametrize("table", ["u1 a.flac\nu2 /nowhere/b.flac\n", "u1 a.ark:5\n"])
def test_where_all_recordings_are_gone_nothing_is_made_anew(folder_of_step, table):
    run, folder = folder_of_step
    for name in ("a.flac", "a.ark"):
        (folder / name).write_text("x")
    (folder / "wav.scp").write_text(table)
    assert run().returncode == 0
    for name in ("a.flac", "a.ark"):
        (folder / name).rename(folder / f"{name}.off")
    done = run()
    assert done.returncode == 1 and f"wav.scp: its recordings are gone, such as {folder}/a." in done.stderr
    assert "begin with a later --stage" in done.stderr and (folder / "out/made").exists()
    for name in ("a.flac", "a.ark"):
        (folder / f"{name}.off").rename(folder / name)
    assert run().stderr.endswith("up to date\n")


def test_a_table_of_commands_alone_names_no_recordings(tmp_path, fingerprint):
    (tmp_path / "wav.scp").write_text("u1 get u1 |\nu2 'x |\n")
    assert fingerprint.fingerprint(tmp_path / "wav.scp") == fingerprint.fingerprint(tmp_path / "wav.scp")


@pytest.mark.parametrize(
    "command",
    ["cat r1.wav |", 'cat "r1.wav"|', "sox - -t wav - <r1.wav |", "cat r1.wav|sox - - |", "x --in=r1.wav|",
     "(cat r1.wav) 2>log |", "cat 'r1.wav |"],
)  # fmt: skip
def test_however_a_command_names_a_recording_it_counts(tmp_path, fingerprint, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    Path("r1.wav").touch()
    assert fingerprint._recordings(f"u {command}\nv {command}\n".encode()) == ["r1.wav"]


def test_a_long_archive_of_recordings_is_read_once(tmp_path, fingerprint, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.ark").touch()
    table = b"".join(b"u%d x.ark:%d\n" % (number, number) for number in range(5))
    assert fingerprint._recordings(table) == ["x.ark"]


META = FeatureMeta("fbank", {"num-mel-bins": 3}, dim=3, frame_shift_ms=10.0, sample_rate=16000)
LATER = dataclasses.replace(META, commit="later", created="later")
FRAMES = np.random.default_rng(0).normal(size=(100_000, 3)).astype(np.float32)


def write_features(folder, meta, frames):
    folder.mkdir(exist_ok=True)
    with PieceWriter(folder / "feats.1.ark", folder / "stats.ark", 0) as writer:
        writer.write("u", frames)
    write_meta(folder / "features.json", meta)
    (folder / "log").mkdir(exist_ok=True)
    (folder / "log/extract.log").write_text(meta.created)


def test_features_that_were_made_again_as_they_were_are_no_change(tmp_path, fingerprint, monkeypatch):
    found = []
    for meta, frames in ((META, FRAMES), (LATER, FRAMES), (LATER, FRAMES + 1),
                         (dataclasses.replace(META, cmvn="speaker"), FRAMES)):  # fmt: skip
        write_features(tmp_path / "train", meta, frames)
        os.utime(tmp_path / "train/feats.1.ark", (len(found), len(found)))
        found.append(fingerprint.fingerprint(tmp_path / "train"))
    assert found[0] == found[1]
    assert len(set(found)) == 3
    archive = tmp_path / "train/feats.1.ark"
    assert archive.stat().st_size > fingerprint.SUMS_BYTES
    alone = fingerprint.fingerprint(archive)
    os.utime(archive, (9, 9))
    assert fingerprint.fingerprint(archive) == alone
    with open(archive, "ab") as stream:
        stream.write(b"more")
    assert fingerprint.fingerprint(archive) != alone
    os.truncate(archive, archive.stat().st_size - 4)
    monkeypatch.setattr(Path, "read_bytes", lambda path: b"sums" if path.suffix == ".crc32" else 1 / 0)
    fingerprint.fingerprint(archive)  # without reading it


def write_store(path, meta, frames, utt_id="u"):
    with StoreWriter(path, meta, [utt_id], [len(frames)]) as writer:
        writer.write(utt_id, frames)


def test_a_store_that_was_made_again_as_it_was_is_no_change(tmp_path, fingerprint):
    path = tmp_path / "x.h5"
    for size in (10, 100_000):  # less and more than is read
        frames = FRAMES[:size]
        found = []
        for meta, values, utt_id in (
            (META, frames, "u"), (LATER, frames, "u"), (META, frames + 1, "u"), (META, frames, "v"),
            (dataclasses.replace(META, precision="bf16"), frames, "u"),
        ):  # fmt: skip
            write_store(path, meta, values, utt_id)
            os.utime(path, (len(found), len(found)))
            found.append(fingerprint.fingerprint(path))
        assert found[0] == found[1]
        assert len(set(found)) == 4


def test_other_hdf5_files_are_known_by_content(tmp_path, fingerprint):
    path = tmp_path / "x.h5"
    found = []
    for value, time in ((1, 0), (1, 1), (2, 2)):
        with h5py.File(path, "w") as file:
            file["x"] = [value]
        os.utime(path, (time, time))
        found.append(fingerprint.fingerprint(path))
    assert found[0] == found[1] != found[2]
    write_store(path, META, FRAMES)
    with h5py.File(path, "a") as file:  # as of an earlier version
        del file["crc32"], file.attrs["crc32"]
    found = fingerprint.fingerprint(path)
    os.utime(path, (0, 0))
    assert fingerprint.fingerprint(path) == found
    os.truncate(path, 3000)
    assert fingerprint.fingerprint(path) != found


def test_a_large_model_is_known_by_the_checksum_of_its_weights(tmp_path, fingerprint):
    def both():
        return [fingerprint.fingerprint(tmp_path / name) for name in ("model.safetensors", "model.json")]

    found = []
    for value, about in ((0, {"x": 1}), (0, {"x": 1}), (1, {"x": 1}), (1, {"x": 2})):
        write_model(tmp_path, {"w": np.full(300_000, value, np.float32)}, about)
        info = json.loads((tmp_path / "model.json").read_text())
        info |= {
            "train": {"lr": 0.1, "save_interval": len(found)},
            "created": f"{len(found)}",
            "machine": f"{len(found)}",
            "input": {"created": f"{len(found)}"},
        }
        (tmp_path / "model.json").write_text(json.dumps(info, indent=2))
        os.utime(tmp_path / "model.safetensors", (len(found), len(found)))
        found.append(both())
    assert found[0] == found[1]
    assert found[2][0] == found[3][0] != found[0][0]
    assert len({info for _, info in found}) == 3
    for damaged in ("{", "[]", "{}"):
        (tmp_path / "model.json").write_text(damaged)
        assert both() not in found


@pytest.mark.parametrize("text", ['{"created": 1}', '{"format": "speechrep-x/1", "created": 1', "[" * 9000])
def test_json_that_is_not_ours_or_damaged_is_known_by_its_bytes(tmp_path, fingerprint, text):
    for name in ("x.json", "input"):
        (tmp_path / name).write_text(text)
    assert fingerprint.fingerprint(tmp_path / "x.json") == fingerprint.fingerprint(tmp_path / "input")

"""Checksums of what a step made, compared by the steps that read it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from speechrep.errors import InputError

STEP = Path(__file__).parents[2] / "utils/step.py"


def step(folder: Path, name: str, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(STEP), "--marker", f".done/{name}", "--log", f"{name}.log", *words]
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(STEP.parents[1])},
    )


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder with the product of a step."""
    script = "mkdir -p made && echo one >made/a.ark && echo two >made/b.scp"
    done = step(tmp_path, "first", "--sealed", "made", "--out", "made", "--", "bash", "-c", script)
    assert done.returncode == 0, done.stderr
    return tmp_path


def copy(folder: Path, name: str = "second") -> subprocess.CompletedProcess:
    return step(folder, name, "--in", "made", "--out", "copy", "--", "cp", "made/a.ark", "copy")


def test_a_damaged_input_is_refused_until_it_is_put_right(made: Path):
    (made / "made/a.ark").write_text("onf\n")
    done = copy(made)
    assert done.returncode == 1
    assert "error: made/a.ark: is not what step first made: damaged or changed since" in done.stderr
    assert not (made / "copy").exists()
    (made / "made/a.ark").write_text("one\n")
    assert copy(made).returncode == 0
    assert (made / "copy").read_text() == "one\n"


def test_a_recipe_in_another_folder_notices_it_too(made: Path):
    (made / "made/a.ark").write_text("onf\n")
    other = made / "other"
    other.mkdir()
    done = step(other, "second", "--in", "../made", "--out", "copy", "--", "cp", "../made/a.ark", "copy")
    assert done.returncode == 1
    assert f"error: {made}/made/a.ark: is not what step first made" in done.stderr


def test_what_is_gone_or_new_or_hidden_is_no_damage(made: Path):
    (made / "made/b.scp").unlink()
    (made / "made/c").write_text("new")
    (made / "made/.lock").write_text("x")
    assert copy(made).returncode == 0


def test_what_a_marker_within_the_folder_vouches_for_is_noticed(tmp_path: Path):
    """An experiment's own steps keep their markers in it."""
    words = ["--sealed", "exp/model", "--out", "exp/model", "--", "bash", "-c", "echo one >exp/model"]
    (tmp_path / "exp").mkdir()
    marker = ["--marker", "exp/.done/first", "--log", "first.log"]
    run = [sys.executable, str(STEP), *marker, *words]
    subprocess.run(run, cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "exp/model").write_text("onf\n")
    done = step(tmp_path, "second", "--in", "exp", "--out", "copy", "--", "cp", "exp/model", "copy")
    assert done.returncode == 1 and "exp/model: is not what step first made" in done.stderr


def test_what_another_step_reads_is_no_concern(made: Path):
    """Damage elsewhere in the same folder stops nobody who does not read it."""
    (made / "made/b.scp").write_text("twp\n")
    words = ["--in", "made/a.ark", "--out", "copy", "--", "cp", "made/a.ark", "copy"]
    assert step(made, "second", *words).returncode == 0


def test_a_folder_that_is_reached_by_a_link_is_sealed_too(tmp_path: Path):
    """And the seal found from above the folder that holds the file."""
    for name in ("disk/deep/exp", "data/set"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "exp").symlink_to("disk/deep/exp")
    marker = ["--marker", "exp/.done/first", "--log", "first.log", "--sealed", "data/set/x", "exp/set"]
    script = "mkdir exp/set && echo one | tee data/set/x >exp/set/y"
    done = subprocess.run(
        [sys.executable, str(STEP), *marker, "--", "bash", "-c", script], cwd=tmp_path, check=True
    )
    assert done.returncode == 0
    for name, beside in (("data/set/x", ["exp/set/y"]), ("exp/set/y", [])):
        (tmp_path / name).write_text("onf\n")
        told = step(tmp_path, "second", "--in", name, *beside, "--", "true").stderr
        assert f"{name}: is not what step first made" in told, told
        (tmp_path / name).write_text("one\n")


def test_hidden_files_and_folders_are_not_sealed(tmp_path: Path):
    """Steps within an experiment write their markers, and who runs them its lock, while others read it."""
    script = "mkdir -p made/.done && echo one >made/a.ark && echo two | tee made/.done/later >made/.lock"
    words = ["--sealed", "made", "--out", "made", "--", "bash", "-c", script]
    assert step(tmp_path, "first", *words).returncode == 0
    for name in (".done/later", ".lock"):
        (tmp_path / "made" / name).write_text("three\n")
        assert copy(tmp_path, name.strip(".").replace("/", "_")).returncode == 0


def test_what_a_changed_step_made_before_vouches_for_nothing(made: Path):
    (made / ".done/first").rename(made / ".done/first.old")
    (made / "made/a.ark").write_text("new\n")
    assert copy(made).returncode == 0


def test_logs_are_not_sealed(tmp_path: Path):
    script = "mkdir -p made/log && echo one >made/a.ark && echo two >made/log/1.log"
    words = ["--sealed", "made", "--out", "made", "--", "bash", "-c", script]
    assert step(tmp_path, "first", *words).returncode == 0
    (tmp_path / "made/log/1.log").write_text("another run\n")
    assert copy(tmp_path).returncode == 0


def test_of_much_the_small_files_are_known_by_content_the_rest_by_size(tmp_path: Path, monkeypatch):
    monkeypatch.syspath_prepend(STEP.parent)
    seals = importlib.import_module("seals")
    monkeypatch.setattr(seals, "SEAL_BYTES", 10)
    for name, size in (("large", 9), ("small", 3), ("middle", 5)):
        (tmp_path / name).write_bytes(bytes(size))
    sums = seals.seal([tmp_path / name for name in ("large", "small", "middle")], tmp_path / ".done/x")
    assert list(sums) == ["../small", "../middle", "../large"]
    assert sums["../large"] == "9 bytes" and not any(
        " " in sums[f"../{name}"] for name in ("small", "middle")
    )
    (tmp_path / ".done").mkdir()
    (tmp_path / ".done/x").write_text(json.dumps({"sealed": sums}))
    (tmp_path / "large").write_bytes(b"other txt")
    seals.refuse_damaged([tmp_path / "large"])
    (tmp_path / "large").write_bytes(b"longer than it")
    with pytest.raises(InputError, match="is not what step x made"):
        seals.refuse_damaged([tmp_path / "large"])


def test_a_marker_that_cannot_be_read_seals_nothing(made: Path):
    (made / ".done/first").write_text('{"sealed": [')
    (made / "made/a.ark").write_text("onf\n")
    assert copy(made).returncode == 0


def test_what_was_removed_is_made_again(made: Path):
    """As the message on damage tells people to."""
    (made / "made/a.ark").unlink()
    script = "mkdir -p made && echo one >made/a.ark && echo two >made/b.scp"
    done = step(made, "first", "--sealed", "made", "--out", "made", "--", "bash", "-c", script)
    assert done.returncode == 0
    assert "first: runs: output made/a.ark is missing" in done.stderr
    assert (made / "made/a.ark").exists()

"""Checksums of what a step made, compared by the steps that read it."""

import subprocess
import sys
from pathlib import Path

import pytest

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
    assert "error: ../made/a.ark: is not what step first made" in done.stderr


def test_what_is_gone_or_new_or_hidden_is_no_damage(made: Path):
    (made / "made/b.scp").unlink()
    (made / "made/c").write_text("new")
    (made / "made/.lock").write_text("x")
    assert copy(made).returncode == 0


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

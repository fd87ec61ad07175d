"""Training states: whole or absent, whatever kills the writer; damage is told."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from speechrep.errors import InputError
from speechrep.train import checkpoint

REPOSITORY = Path(__file__).parent.parent.parent


def test_keeps_the_last_and_reads_what_was_written(tmp_path):
    for step in (5, 10, 100, 20):
        checkpoint.save_state(tmp_path, step, {"w": torch.full((3,), float(step)), "n": {"step": step}}, 3)
    assert [path.name for path in checkpoint.saved_states(tmp_path)] == [
        "step-10.pt",
        "step-20.pt",
        "step-100.pt",
    ]
    state = checkpoint.load_state(tmp_path / "step-100.pt")
    assert state["n"] == {"step": 100} and state["w"].tolist() == [100.0] * 3
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json"] * 3 + [".pt"] * 3


def test_states_of_interruptions_take_no_others_place(tmp_path):
    for step in (5, 10, 12, 13, 15):
        checkpoint.save_state(tmp_path, step, {}, 2, 5)
    assert [path.stem for path in checkpoint.saved_states(tmp_path)] == ["step-10", "step-13", "step-15"]
    checkpoint.save_state(tmp_path, 18, {}, 2, 5)
    assert [path.stem for path in checkpoint.saved_states(tmp_path)] == ["step-15", "step-18"]
    for step in (120, 260, 390):  # none at a multiple
        checkpoint.save_state(tmp_path, step, {}, 2, 1000)
    assert [path.stem for path in checkpoint.saved_states(tmp_path)] == ["step-260", "step-390"]


def test_one_state_is_kept_where_one_is_wanted(tmp_path):
    for step in (1, 2):
        checkpoint.save_state(tmp_path, step, {}, 1)
    assert [path.stem for path in checkpoint.saved_states(tmp_path)] == ["step-2"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damage_names_the_file_and_the_good_one_before(tmp_path, damage):
    for step in (1, 2, 3):
        path = checkpoint.save_state(tmp_path, step, {"w": torch.ones(100)}, 3)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:200] if damage == "cut" else data)
    (tmp_path / "step-2.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"step-3\.pt.*cut short or corrupt.*go on from .*step-1\.pt"):
        checkpoint.load_state(path)


def test_leftovers_are_removed_and_never_taken_for_states(tmp_path):
    good = checkpoint.save_state(tmp_path, 1, {}, 3)
    (tmp_path / "step-2.pt").write_bytes(b"half")  # its checksum was never written
    (tmp_path / ".step-3.pt.77.tmp").write_bytes(b"half")
    assert checkpoint.saved_states(tmp_path) == [good]
    checkpoint.remove_states(tmp_path, [good])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1.json", "step-1.pt"]


def test_no_checksum_of_an_older_file_vouches_for_the_one_in_its_place(tmp_path, monkeypatch):
    """It would make a whole state one that is taken for damaged."""
    checkpoint.save_state(tmp_path, 1, {"w": torch.zeros(3)}, 1)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_state(tmp_path, 1, {"w": torch.ones(3)}, 1)
    assert checkpoint.saved_states(tmp_path) == []


def test_no_code_is_run_from_a_checkpoint(tmp_path):
    checkpoint.save_state(tmp_path, 1, {"path": Path("x")}, 1)
    with pytest.raises(InputError, match=r"step-1\.pt: holds other things than tensors"):
        checkpoint.load_state(tmp_path / "step-1.pt")


WRITER = """
import sys, torch
from speechrep.train import checkpoint
weights = torch.ones(300_000)
print("ready", flush=True)
for step in range(1, 100_000):
    checkpoint.save_state(sys.argv[1], step, {"w": weights * step, "step": step}, 2)
"""


def test_kill_9_at_any_moment_leaves_a_good_state(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    for i in range(4):
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            while not checkpoint.saved_states(tmp_path) and process.poll() is None:
                time.sleep(0.01)
            time.sleep(0.1 + 0.037 * i)  # several more saves, cut at a different place each time
            os.kill(process.pid, signal.SIGKILL)
        saved = checkpoint.saved_states(tmp_path)
        assert saved, "not one state was finished in time"
        for path in saved:
            state = checkpoint.load_state(path)
            assert state["step"] == json.loads(path.with_suffix(".json").read_text())["step"]
            assert (state["w"] == state["step"]).all()
        checkpoint.remove_states(tmp_path, saved[-1:])

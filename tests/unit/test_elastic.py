"""Two machines' torchrun agents train together; one is lost, comes back, and the end is the same."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from test_pretrain import SMALL
from test_pretrain_processes import ENVIRONMENT, REPOSITORY, STEPS, command, sets, start, wait_for  # noqa: F401

from speechrep.io.model_files import read_model
from tests.processes import children

NUM_STEPS = 160


def agent(sets, exp, port):  # noqa: F811
    """A torchrun that meets the other at a port and starts its worker anew when either is lost."""
    meet = ["--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=test", "--rdzv-conf",
            "join_timeout=600,keep_alive_interval=2,keep_alive_max_attempt=10,read_timeout=120"]  # fmt: skip
    run = ["--nnodes=2", "--nproc-per-node=1", "--max-restarts=3", "--local-addr=127.0.0.1", *meet]
    words = [*SMALL["mockingjay"], *sets, *STEPS, "--max-steps", str(NUM_STEPS), "--exp-dir", str(exp)]
    return [sys.executable, "-m", "torch.distributed.run", *run, "-m", "speechrep.bin.pretrain", *words]


def kill_with_children(pid):
    """What a machine runs is gone at once."""
    for each in [pid, *children(pid)]:
        os.kill(each, signal.SIGKILL)


def wait_for_listener(port):
    end = time.monotonic() + 300
    while True:
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.slow
def test_a_lost_machine_rejoins(tmp_path, sets, start, monkeypatch):  # noqa: F811
    # Without it the one that comes back waits for an address that the others tell only once (torch 2.13).
    monkeypatch.setitem(ENVIRONMENT, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    stays = start(agent(sets, tmp_path / "two", port))
    wait_for_listener(port)  # the machine that is lost must not be the one they meet at
    lost = start(agent(sets, tmp_path / "two", port))
    wait_for(tmp_path / "two/checkpoints/step-?0.json", stays, seconds=600)
    kill_with_children(lost.pid)
    lost.wait()
    assert not (tmp_path / "two/checkpoints/finished.json").exists()
    again = start(agent(sets, tmp_path / "two", port))
    assert (stays.wait(900), again.wait(900)) == (0, 0)
    words = command(sets, tmp_path / "one", NUM_STEPS, "--accumulate", "2")
    subprocess.run(words, check=True, cwd=REPOSITORY, env=ENVIRONMENT)
    losses = [read_model(tmp_path / name)[1]["valid"]["loss"] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)

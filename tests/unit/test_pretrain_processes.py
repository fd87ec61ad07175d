"""Pre-training as commands: killed and continued, and spread over processes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_pretrain import SMALL, write_store

from speechrep.io.model_files import read_model

REPOSITORY = Path(__file__).parent.parent.parent
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
STEPS = ["--max-frames", "200", "--crop-frames", "60", "--valid-interval", "60", "--save-interval", "10"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    stores = [write_store(folder / f"{seed}.h5", seed=seed) for seed in (0, 1)]
    return ["--train-dir", stores[0], "--valid-dir", stores[1]]


def command(sets, exp, steps, *more):
    words = [*SMALL["mockingjay"], *sets, *STEPS, "--max-steps", str(steps), "--exp-dir", str(exp), *more]
    return [sys.executable, "-m", "speechrep.bin.pretrain", *words]


@pytest.fixture
def start():
    """Starts commands, and ends those that a failed test leaves behind."""
    started = []

    def start_one(words):
        started.append(subprocess.Popen(words, cwd=REPOSITORY, env=ENVIRONMENT))
        return started[-1]

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait_for(path, process, seconds=120):
    end = time.monotonic() + seconds
    while not list(path.parent.glob(path.name)):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)


def digests(*folders):
    return {read_model(folder)[1]["weights_sha256"] for folder in folders}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_killed_and_continued_ends_in_the_same_weights(tmp_path, sets, start, number, status):
    steps = 120
    killed = start(command(sets, tmp_path / "parts", steps))
    wait_for(tmp_path / "parts/checkpoints/step-?0.json", killed)
    os.kill(killed.pid, number)
    assert killed.wait(120) == status
    assert not (tmp_path / "parts/checkpoints/finished.json").exists()
    for folder in ("parts", "whole"):
        subprocess.run(command(sets, tmp_path / folder, steps), check=True, cwd=REPOSITORY, env=ENVIRONMENT)
    assert len(digests(tmp_path / "parts", tmp_path / "whole")) == 1
    logs = [(tmp_path / name / "train_log.jsonl").read_text().splitlines() for name in ("parts", "whole")]
    steps_logged = [[json.loads(line)["step"] for line in log] for log in logs]
    assert steps_logged[0] == steps_logged[1]  # nothing twice, nothing missing


def test_two_machines_of_one_process_each(tmp_path, sets, start):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{probe.getsockname()[1]}"
    nodes = [
        start(
            command(
                sets, tmp_path / "two", 6, "--num-nodes", "2", "--node-rank", str(rank), "--master", master
            )
        )
        for rank in (0, 1)
    ]
    assert all(node.wait(300) == 0 for node in reversed(nodes))  # the first one waits for a failed second
    subprocess.run(
        command(sets, tmp_path / "one", 6, "--accumulate", "2"), check=True, cwd=REPOSITORY, env=ENVIRONMENT
    )
    losses = [read_model(tmp_path / name)[1]["valid"]["loss"] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    weights = [read_model(tmp_path / name)[0] for name in ("one", "two")]
    for name, value in weights[0].items():  # Adam turns the rounding of a near-zero gradient into a step
        assert abs(value - weights[1][name]).max() < 5e-3


FAILS_ALONE = """
import time, torch
import torch.distributed as dist
from speechrep.bin import run
from speechrep.bin.pretrain import main
from speechrep.upstream.pretraining import Pretraining

dist.destroy_process_group = lambda *args: time.sleep(1000)  # as NCCL's, which waits for all processes
loss, calls = Pretraining.loss, []

def fail(self, batch):
    calls.append(batch)
    if dist.get_rank() == 1 and len(calls) == 8:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB")
    return loss(self, batch)

Pretraining.loss = fail
run(main)
"""


def test_an_error_of_one_process_is_told_and_ends_all(tmp_path, sets):
    """The others wait for it in an exchange; it must not wait for them."""
    ended = launched(tmp_path, FAILS_ALONE, sets)
    assert ended.returncode == 1
    assert "script.py: error: " in ended.stderr and "out of memory at step " in ended.stderr
    assert "FutureWarning" not in ended.stderr


TOLD_ALONE = """
import os, signal
from speechrep.bin import run
from speechrep.bin.pretrain import main
from speechrep.train.trainer import Trainer

step = Trainer._step

def tell(self, batches):
    if self.progress.step == 12 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGTERM)
    step(self, batches)

Trainer._step = tell
run(main)
"""


def test_a_signal_to_one_process_saves_and_ends_all(tmp_path, sets):
    ended = launched(tmp_path, TOLD_ALONE, sets)
    assert ended.returncode == 75
    assert (tmp_path / "exp/checkpoints/step-13.json").exists()
    assert "Traceback" not in ended.stderr


def launched(folder, script, sets):
    """A script's training of two processes."""
    (folder / "script.py").write_text(script)
    words = [*SMALL["mockingjay"], *sets, *STEPS, "--max-steps", "100", "--exp-dir", str(folder / "exp")]
    launch = [sys.executable, "-m", "speechrep.train.launch", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*launch, str(folder / "script.py"), *words], env=ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)},
        timeout=240, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip

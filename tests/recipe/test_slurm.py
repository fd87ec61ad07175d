"""The recipe as jobs of a real Slurm, a node lost on the way, and training over two of its nodes.

Skipped where Slurm is not installed (tools/install_slurm.sh) or this is not root.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from single_slurm import Slurm, wait_until, why_not

from speechrep.data.features import open_features
from speechrep.io.table import read_table

REPOSITORY = Path(__file__).parents[2]
LAUNCHER = str(REPOSITORY / "utils/slurm.py")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]


@pytest.fixture(scope="module")
def slurm():
    folder = Path(tempfile.mkdtemp(prefix="slurm"))
    started = Slurm.__new__(Slurm)
    started.folder = folder  # for stop(), should the start fail half-way
    started.conf = folder / "slurm.conf"
    try:
        started.__init__(folder)
        yield started
    finally:
        started.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def environment(slurm):
    path = os.pathsep.join([str(Path(sys.executable).parent), slurm.environment["PATH"]])
    return os.environ | slurm.environment | {
        "VIRTUAL_ENV": sys.prefix, "PATH": path, "PYTHONPATH": str(REPOSITORY),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin waste what other processes need
    }  # fmt: skip


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    folder = tmp_path_factory.mktemp("work")
    shutil.copytree(REPOSITORY / "tests/recipe/conf", folder / "conf")
    path = folder / "conf/apc.yaml"  # long enough to be interrupted
    text = path.read_text().replace("max-steps: 6", "max-steps: 60")
    path.write_text(text.replace("valid-interval: 3", "valid-interval: 60").replace(": 3", ": 10"))
    return folder


def recipe(*words):
    folders = ["--corpus-dir", "corpus", "--expdir", "exp", "--datadir", "data"]
    less = ["--upstreams", "apc", "--controls", "false", "--tasks", "phone asr", "--confdir", "conf"]
    return [str(REPOSITORY / "egs/librispeech/run.sh"), *folders, *less, "--nj", "2", *words]


def run(work, environment, *words):
    return subprocess.run(
        recipe(*words), cwd=work, env=environment, capture_output=True, text=True, timeout=3600
    )


def made(work, tag, dumpdir):
    """Everything that a reader of results may compare: features, representations, decoded texts, scores."""
    feats = {
        path.parent.name: {utt_id: open_features(path.parent).read(utt_id) for utt_id in read_table(path)}
        for path in sorted((work / dumpdir / "fbank80").glob("*/feats.scp"))
    }
    stores = {
        path.stem: {utt_id: store.read(utt_id) for utt_id in store.utt_ids}
        for path in sorted((work / dumpdir / tag / "apc").glob("*.h5"))
        for store in [open_features(path)]
    }
    texts = {
        str(path.relative_to(work / "exp" / tag)): path.read_text()
        for path in sorted((work / "exp" / tag).glob("*/decode_*/*"))
        if path.is_file() and path.name != "scores.json"
    }
    scores = [
        {name: entry[name] for name in ("task", "set", "metric", "value", "ci95", "n")}
        for entry in json.loads((work / "exp" / tag / "results.json").read_text())
    ]
    return feats, stores, texts, sorted(scores, key=str)  # which was written first is chance


def jobs_of(slurm):
    return Counter(slurm.ask("squeue", "-h", "-r", "-t", "all", "-o", "%j").split())


def launch(environment, folder, *words):
    return subprocess.Popen(
        [sys.executable, LAUNCHER, *words], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    )


def test_an_interrupt_cancels_and_the_next_launch_ends_a_forgotten_job(slurm, environment, tmp_path):
    sleeper = ["x.log", "bash", "-c", "echo $$ >>pids; sleep 600"]
    for number in (signal.SIGINT, signal.SIGKILL):
        process = launch(environment, tmp_path, *sleeper)
        wait_until(lambda: slurm.ask("squeue", "-h", "-t", "R", "-o", "%i") != "", 60)
        process.send_signal(number)
        assert process.wait(60) == -number
        if number == signal.SIGINT:
            wait_until(lambda: slurm.ask("squeue", "-h") == "", 60)
    assert slurm.ask("squeue", "-h") != ""  # nobody could cancel it
    done = launch(environment, tmp_path, "x.log", "true")
    assert (done.wait(120), done.stderr.read()) == (0, "")
    wait_until(lambda: slurm.ask("squeue", "-h") == "", 60)


def test_training_over_two_nodes(work, environment):
    words = ["--tag", "two", "--dumpdir", "dump_two", "--confdir", str(REPOSITORY / "tests/recipe/conf")]
    done = run(work, environment, "--backend", "slurm", "--num-nodes", "2", "--stop-stage", "4", *words)
    assert done.returncode == 0, done.stderr
    for log in ("2_apc", "4_phone_apc", "4_asr_apc"):
        assert ", 2 process(es) on cpu" in (work / f"exp/two/logs/{log}.log").read_text(), log
    # One process that adds up the gradients of two batches takes the same steps.
    marker = json.loads((work / "exp/two/.done/apc").read_text())
    command = [word.replace("exp/two", "exp/one") for word in marker["command"]]
    command = [sys.executable, *command[1:], "--accumulate", "2"]
    subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True)
    two, one = (load_file(work / f"exp/{name}/apc/model.safetensors") for name in ("two", "one"))
    assert two.keys() == one.keys()
    for name, weights in one.items():  # Adam turns the rounding of a near-zero gradient into a step
        assert abs(two[name] - weights).max() < 1e-3, name
    # Random weights of its shape are no training.
    words = ["--tag", "again", "--upstream-from", "exp/two", "--controls", "true", "--dumpdir", "dump_two"]
    more = ["--num-nodes", "2", "--stage", "2", "--stop-stage", "2"]
    done = run(work, environment, "--backend", "slurm", *words, *more)
    assert done.returncode == 0, done.stderr
    assert (work / "exp/again/apc_untrained/model.json").exists()


# The last one, as it leaves one node.
def test_a_node_is_lost_and_the_recipe_recovers_on_rerun(slurm, work, environment):
    before = jobs_of(slurm)
    process = subprocess.Popen(
        recipe("--backend", "slurm", "--dumpdir", "dump"), cwd=work, env=environment, stderr=subprocess.PIPE,
        text=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: list(work.glob("exp/demo/apc/checkpoints/*.json")) or process.poll() is not None, 2400)
    assert process.poll() is None, process.stderr.read()
    node = slurm.ask("squeue", "-h", "-t", "R", "-o", "%N")
    assert node in ("n1", "n2")
    slurm.kill_node(node)
    told = process.communicate(timeout=900)[1]
    assert process.returncode == 1
    assert re.search(r"Slurm job \d+: job failed, log is in \S*exp/demo/logs/2_apc.log", told), told
    assert not (work / "exp/demo/.done/apc").exists()
    assert not slurm.ask("squeue", "-h")

    # On the node that is left.
    again = run(work, environment, "--backend", "slurm", "--dumpdir", "dump")
    assert again.returncode == 0, again.stderr
    assert "apc: runs: first time; goes on where it was interrupted" in again.stderr
    assert ", from step 0," not in (work / "exp/demo/logs/2_apc.log").read_text()
    jobs = jobs_of(slurm) - before
    sets = 3
    assert jobs["extract.SPEECHREP_JOB.log"] == jobs["dump.SPEECHREP_JOB.log"] == 2 * sets
    assert jobs["decode.SPEECHREP_JOB.log"] == 1 + 2  # of phones there is one job, they take no time
    assert jobs["2_apc.log"] == 2 and jobs["4_phone_apc.log"] == jobs["4_asr_apc.log"] == 1

    undisturbed = run(work, environment, "--tag", "local", "--dumpdir", "dump_local")
    assert undisturbed.returncode == 0, undisturbed.stderr
    for ours, theirs in zip(made(work, "demo", "dump"), made(work, "local", "dump_local"), strict=True):
        assert ours and len(ours) == len(theirs)
        np.testing.assert_equal(ours, theirs)  # to the last bit

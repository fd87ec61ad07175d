"""Every parser on damaged files for about a second; `make fuzz SECONDS=600` for longer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
TARGETS = [
    line.split('"')[1]
    for line in (FOLDER / "targets.py").read_text().partition("\nTARGETS = {")[2].splitlines()
    if line.startswith('    "')
]  # by name only: importing them here would load all that they need into every test process


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    keep = tmp_path_factory.mktemp("failed")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(FOLDER.parents[1])}
    words = [sys.executable, FOLDER / "run.py", "--seconds", "0.7", "--json", "--keep", keep]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=900)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def test_every_target_is_run(report):
    assert list(report) == TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_only_input_errors(report, name):
    found = report[name]
    if found["skipped"]:
        pytest.skip(found["skipped"])
    assert not found["failures"], "\n".join(found["failures"])
    assert found["cases"] >= 10 and 0 < found["refused"] < found["cases"]
    assert found["peak_mb"] < 300

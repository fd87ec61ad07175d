"""Every parser on damaged files for a moment; `make fuzz SECONDS=600` for longer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import record
from record import Record, section

FOLDER = Path(__file__).parent
PATHS = FOLDER, FOLDER.parents[1], FOLDER.parents[1] / "utils"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(map(str, PATHS))}
TARGETS = [
    line.split('"')[1]
    for line in (FOLDER / "targets.py").read_text().partition("\nTARGETS = {")[2].splitlines()
    if line.startswith('    "')
]  # by name only: importing them here would load all that they need into every test process


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    keep = tmp_path_factory.mktemp("failed")
    words = [sys.executable, FOLDER / "run.py", "--seconds", "0.3", "--json", "--keep", keep]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
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


def test_a_target_that_cannot_run_is_no_success(tmp_path):
    program = (
        "import dataclasses, sys, run; table = run.TARGETS['table'];"
        "run.TARGETS['table'] = dataclasses.replace(table, missing=lambda: 'install with pip');"
        "sys.exit(run.main())"
    )
    words = ["--targets", "table", "--seconds", "1", "--record", str(tmp_path / "record.json")]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=ENVIRONMENT, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout.split()) == (1, ["table", "skipped:", "install", "with", "pip"])


def tried(seconds, cases=10, failures=()):
    return {"files": ["parser.py"], "seconds": seconds, "cases": cases, "refused": 5, "failures": [*failures]}


def test_the_record_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    (tmp_path / "parser.py").write_text("x = 1\n")
    record._fingerprint.cache_clear()
    table = Record(tmp_path / "record.json")
    assert table.next(["a", "b"], 60) == ("a", 0)
    table.add("a", tried(30.0))
    assert table.next(["a", "b"], 60) == ("b", 0)
    table.add("b", tried(20.0))
    assert Record(table.path).next(["a", "b"], 60) == (
        "b",
        1,
    )  # a later run goes on
    table.add("b", tried(50.0, failures=["KeyError parser.py:3"]))
    assert table.next(["a", "b"], 60) == ("a", 1)  # b has had its seconds
    table.add("a", tried(30.0))
    assert table.next(["a", "b"], 60) == ("", 0)
    text = section(table.read())
    assert "| a | 60 | 20 | 50 % | 0 | 0-1 |" in text and "- b: KeyError parser.py:3" in text
    (tmp_path / "parser.py").write_text("x = 1  # told\n")
    record._fingerprint.cache_clear()
    assert "| a | 60 |" in section(table.read())  # a comment changes nothing
    (tmp_path / "parser.py").write_text("x = 2\n")
    record._fingerprint.cache_clear()
    assert "| a | 0 | 0 | - | 0 | 0-1 | - | 60 |" in section(table.read())
    assert table.next(["a", "b"], 60) == ("a", 2)
    table.add("a", tried(10.0))
    table.add("a", tried(5.0, failures=["the interpreter died"]) | {"files": []})
    assert "- a: the interpreter died" in section(table.read())  # with what was tried on the same code

"""Steps that may take long tell how far they are, also in a log and from within jobs."""

import io
import re

import pytest

from speechrep import progress
from speechrep.bin.jobs import run_local
from speechrep.progress import FOR_PARENT, Progress

JOB = """
from speechrep.progress import Progress

for _ in Progress(3, "utterances").over(range(3)):
    pass
"""


@pytest.fixture
def clock(monkeypatch):
    """Set ``clock[0]`` to the seconds passed."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_every_ten_seconds(clock, capsys):
    for number in Progress(12, "utterances", done=2).over(range(10)):
        clock[0] = 4.0 * (number + 1)
    assert capsys.readouterr().err.splitlines() == [
        "5/12 utterances, 0.25/s, 28 s left",
        "8/12 utterances, 0.25/s, 16 s left",
        "11/12 utterances, 0.25/s, 4 s left",
        "12/12 utterances, 0.25/s, took 40 s",
    ]


def test_where_the_end_is_not_known(clock, capsys):
    for number in Progress(0, "utterances").over(range(2)):
        clock[0] = 10.0 * (number + 1)
    assert capsys.readouterr().err.splitlines()[0] == "1 utterances, 0.1/s, running"


def test_a_job_tells_its_parent_alone(clock, capsys, monkeypatch):
    for name, value in FOR_PARENT.items():
        monkeypatch.setenv(name, value)
    for number in Progress(3, "utterances").over(range(3)):
        clock[0] = 0.3 * (number + 1)
    assert capsys.readouterr() == ("progress 2 3\nprogress 3 3\n", "")


def test_the_counts_of_jobs_are_one(tmp_path, monkeypatch, capsys):
    (tmp_path / "counting.py").write_text(JOB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    shown = []
    whole = Progress(6, "utterances")
    monkeypatch.setattr(whole, "update", shown.append)
    run_local("counting", [], [1, 2], lambda job: tmp_path / f"{job}.log", whole)
    assert shown[-1] == 6 and set(shown) <= {0, 3, 6}
    assert re.search("utterances, .* took", capsys.readouterr().err)
    assert (tmp_path / "1.log").read_text() == ""


def test_a_line_above_the_count_of_a_terminal(clock, capsys, monkeypatch):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(progress, "_width", lambda: 40)
    counted = Progress(10, "steps", done=2)
    counted.note = ", loss 0.5, and more than the terminal is wide"
    clock[0] = 200.0
    counted.update(3)
    counted.say("saved")
    counted.show(end=True)
    assert capsys.readouterr().err.split("\r\x1b[K") == [
        "", "3/10 steps, 0.005/s, 0:23:20 left, loss", "saved\n", "3/10 steps, 0.005/s, 0:23:20 left, loss",
        "3/10 steps, 0.005/s, took 0:03:20, loss 0.5, and more than the terminal is wide\n",
    ]  # fmt: skip


def test_a_terminal_that_was_closed_ends_no_work(monkeypatch):
    class Closed(io.StringIO):
        def isatty(self):
            return True

        def write(self, text):
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(progress.sys, "stderr", Closed())
    counted = Progress(2, "steps")
    assert list(counted.over(range(2))) == [0, 1]
    counted.say("saved")

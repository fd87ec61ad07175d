"""What a command says when something breaks around it."""

import signal
import subprocess
import sys

import pytest

CODE = """
from speechrep.bin import run

class Iterator:
    def __del__(self):
        raise RuntimeError({words!r})

def main():
    Iterator()
    raise RuntimeError({words!r})

run(main)
"""


@pytest.mark.parametrize(
    ("words", "traced"), [("DataLoader worker (pid 7) is killed", False), ("a bug", True)]
)
def test_a_dead_worker_is_told_in_words_alone(words, traced):
    """torch's complaint comes up again while its iterator is taken down, and Python would trace it."""
    command = [sys.executable, "-c", CODE.format(words=words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert ("Traceback" in done.stderr) == traced
    assert words in done.stderr and (traced or "error: a worker process died" in done.stderr)


HALF_MADE = """
from speechrep.bin import run

class _MultiProcessingDataLoaderIter:
    def __del__(self):
        self._workers_status

def main():
    made = _MultiProcessingDataLoaderIter()
    del made
    raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")

run(main)
"""


def test_a_loader_that_died_while_it_was_made_is_told_in_words():
    done = subprocess.run([sys.executable, "-c", HALF_MADE], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.startswith("-c: error: a worker process died")
    assert done.stderr.count("\n") == 1


POOL = """
import multiprocessing, os, signal
from concurrent.futures import ProcessPoolExecutor
from speechrep.bin import run

def die(number):
    os.kill(os.getpid(), signal.SIGKILL)

def main():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        list(pool.map(die, range(3)))

run(main)
"""


def test_a_dead_process_of_a_pool_is_told_in_words():
    done = subprocess.run([sys.executable, "-c", POOL], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: a worker process died, is memory short?" in done.stderr


INTERRUPTED = """
import os, signal
from speechrep.bin import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it would be ignored
run(lambda: os.kill(os.getpid(), signal.SIGINT))
"""


def test_an_interrupt_is_told_in_a_line_and_handed_on():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT and done.stderr == "-c: interrupted\n"


OUTPUT = """
from speechrep.bin import run

def main():
    for number in range(100_000):
        print(number)

run(main)
"""


def test_output_that_nobody_reads_to_its_end_is_no_success(tmp_path):
    (tmp_path / "x.py").write_text(OUTPUT)
    command = f'{sys.executable} x.py | head -1; exit "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "0\n", "")


SYSTEM = ("OSError(28, 'x', 'a.h5')", "error: a.h5: No space left on device\n")


@pytest.mark.parametrize(("error", "told"), [SYSTEM, ("OSError('bug')", "")])
def test_what_the_system_says_is_told_in_words_and_what_a_library_says_traced(error, told):
    code = f"from speechrep.bin import run\ndef main():\n    raise {error}\nrun(main)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and ("Traceback" in done.stderr) == (not told)
    assert not told or done.stderr.endswith(told)

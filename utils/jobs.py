"""Job arrays as Kaldi writes them, ``JOB=1:N log/x.JOB.log command ... JOB``: what all launchers share.

The log format is run.pl's: the command and the start on top, ``# Ended (code N)`` below.
A command is a list of words and meets no shell; for a pipe say ``bash -c '...'``.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import os
import pty
import re
import select
import shlex
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from children import Children

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")  # where a job is told how many
RANGE = re.compile(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?")
ENDED = re.compile(r"# (?:Ended \(code (\d+)(?:; signal (\d+))?\)|Finished at .* with status (\d+))")


@dataclasses.dataclass(frozen=True)
class Job:
    """One command and its log."""

    number: int
    log: Path
    argv: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class JobArray:
    """The jobs of one launch; ``name`` is empty for a single job."""

    name: str
    jobs: tuple[Job, ...]
    log: str  # with the name unreplaced


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """The options every launcher takes, so that a recipe need not know which it calls."""
    parser.add_argument("--max-jobs-run", "-tc", type=int, default=0, help="jobs at once; 0: as many as fit")
    parser.add_argument("--num-threads", type=int, default=1, help="cores of a job")
    parser.add_argument("--gpu", type=int, default=0, help="GPUs of a job")
    parser.add_argument("--mem", default="", help="memory of a job, such as 4G")
    parser.add_argument("--time", default="", help="time limit of a job, as the scheduler writes it")
    parser.add_argument("job", nargs=argparse.REMAINDER, metavar="[JOB=1:N] LOG COMMAND...")


def parse_job_array(words: Sequence[str]) -> JobArray:
    """Read ``[JOB=1:N] LOG COMMAND...``.

    Raises:
        ValueError: telling what is wrong.
    """
    words = list(words)
    name, numbers = "", range(1, 2)
    if words and (match := RANGE.fullmatch(words[0])):
        name, first, last = match[1], int(match[2]), int(match[3] or match[2])
        if not 1 <= first <= last:
            raise ValueError(f"{words[0]}: want 1 <= first <= last")
        numbers = range(first, last + 1)
        del words[0]
    if len(words) < 2:
        raise ValueError("want [JOB=1:N] LOG COMMAND...")
    log, *argv = words
    if len(numbers) > 1 and name not in log:
        raise ValueError(f"the log {log} must contain {name}: {len(numbers)} jobs cannot share one")

    def fill(word: str, number: int) -> str:
        return word.replace(name, str(number)) if name else word

    jobs = (Job(k, Path(fill(log, k)), tuple(fill(word, k) for word in argv)) for k in numbers)
    return JobArray(name, tuple(jobs), log)


def status(log: Path) -> int | None:
    """The exit status a log tells (128 + signal if killed), or None if it tells none."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - 1000))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return None
    # What a job left running may have written below.
    match = next(filter(None, map(ENDED.match, reversed(lines))), None)
    if not match:
        return None
    code, number, status_ = match.groups()
    return 128 + int(number) if number else int(code or status_ or 0)


def failures(array: JobArray) -> str:
    """What to tell about the jobs that did not succeed; empty if all did."""
    failed = [job for job in array.jobs if status(job.log) != 0]
    if not failed:
        return ""
    if len(array.jobs) == 1:
        return f"job failed, log is in {failed[0].log}"
    some = " ".join(str(job.log) for job in failed[:5]) + (" ..." if len(failed) > 5 else "")
    return f"{len(failed)} / {len(array.jobs)} failed, log is in {array.log.replace(array.name, '*')}: {some}"


def run_jobs(jobs: Sequence[Job], limit: int, children: Children, terminal: bool = False) -> None:
    """Run jobs on this machine, at most ``limit`` at once, each writing its log.

    Args:
        terminal: show the output of a single job on the terminal too, where a progress bar can move.
    """
    waiting, running = list(jobs), {}
    while waiting or running:
        while waiting and len(running) < limit and not children.signal:
            run = _Run(waiting.pop(0), children, terminal and len(jobs) == 1)
            if run.child:
                running[run.child] = run
        for run in running.values():
            run.pass_output()
        ended = children.finished()
        for child in ended:
            running.pop(child).finish()
        if children.signal:
            waiting.clear()
        if not ended:
            children.wait()


class _Run:
    """A job under way: its process, its log, and the pseudo-terminal between if it shows its output."""

    def __init__(self, job: Job, children: Children, terminal: bool):
        self.started = time.monotonic()
        self.master = -1
        self._line = b""
        job.log.parent.mkdir(parents=True, exist_ok=True)
        self.log: IO[bytes] = open(job.log, "wb", buffering=0)  # noqa: SIM115 finish() closes it
        self._tell(f"# {shlex.join(job.argv)}\n# Started at {_now()}\n#\n")
        output: int | IO = self.log
        if terminal:
            self.master, output = pty.openpty()
            os.set_blocking(self.master, False)
            with contextlib.suppress(OSError):  # a bar wants the terminal's width
                fcntl.ioctl(output, termios.TIOCSWINSZ, fcntl.ioctl(2, termios.TIOCGWINSZ, bytes(8)))
        self.child: subprocess.Popen | None = None
        try:
            self.child = children.start(job.argv, output)
        except OSError as error:
            self._tell(f"{job.argv[0]}: {error.strerror}\n")
            self._end(127, 0)
        finally:
            if terminal:
                os.close(output)

    def pass_output(self) -> None:
        """Show what a job wrote to its pseudo-terminal, and log it without what a bar overwrote."""
        while self.master >= 0 and select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:  # how a pseudo-terminal tells its end
                data = b""
            if not data:
                return
            with contextlib.suppress(OSError):  # of a terminal that was closed; the work goes on
                sys.stderr.buffer.write(data)
                sys.stderr.buffer.flush()
            *lines, self._line = (self._line + data.replace(b"\r\n", b"\n")).split(b"\n")
            self.log.write(b"".join(line.rsplit(b"\r", 1)[-1] + b"\n" for line in lines))

    def finish(self) -> None:
        """Write the last lines of the log."""
        self.pass_output()
        if self._line:
            self.log.write(self._line.rsplit(b"\r", 1)[-1] + b"\n")
        assert self.child
        code = self.child.returncode
        self._end(max(code, 0), max(-code, 0))
        if self.master >= 0:
            os.close(self.master)

    def _end(self, code: int, number: int) -> None:
        elapsed = round(time.monotonic() - self.started)
        self._tell(f"# Accounting: time={elapsed} threads={os.environ.get('OMP_NUM_THREADS', 1)}\n")
        signalled = f"; signal {number}" if number else ""
        self._tell(f"# Ended (code {code}{signalled}) at {_now()}, elapsed time {elapsed} seconds\n")
        self.log.close()

    def _tell(self, text: str) -> None:
        self.log.write(text.encode())


def _now() -> str:
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")

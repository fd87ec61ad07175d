"""Jobs that are processes of this command: started here, or through a launcher such as that of ``cmd.sh``.

What a local job prints of its progress goes here, to that of all; its log takes the rest.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import configargparse

from speechrep.errors import InputError
from speechrep.progress import FOR_PARENT, Progress

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)
_JOB = "SPEECHREP_JOB"


def add_job_options(parser: configargparse.ArgParser, nj: str) -> None:
    """``--nj``, of which ``nj`` tells, ``--cmd`` and ``--job``."""
    parser.add_argument("--nj", type=int, default=1, help=nj)
    parser.add_argument("--cmd", default="", help="launcher of cmd.sh; without it, jobs are local processes")
    parser.add_argument("--job", type=int, default=0, help="do only this job; for launchers")


def check_jobs(nj: int, job: int) -> None:
    """Refuse numbers of ``--nj`` and ``--job`` (0: not one of them) that make no sense."""
    if nj < 1:
        raise InputError(f"want 1 or more, got {nj}", where="--nj")
    if not 0 <= job <= nj:
        raise InputError(f"want one of 1 to {nj}, got {job}", where="--job")


def run_local(
    module: str, argv: Sequence[str], jobs: Sequence[int], log: Callable[[int], Path], progress: Progress
) -> None:
    """Run ``python -m module argv --job J`` for each job, all at once, each on one thread.

    A progress that does not know its total is given the sum of the jobs'.

    Raises:
        InputError: a job failed, naming its log; the others are left to finish first.
    """
    import speechrep

    path = [str(Path(speechrep.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | ONE_THREAD | FOR_PARENT | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    counts = dict.fromkeys(jobs, 0)
    totals: dict[int, int | None] = dict.fromkeys(jobs)  # as told; a job that was done tells none
    is_sum = not progress.total
    processes: dict[int, subprocess.Popen[str]] = {}
    readers = []

    def follow(job: int) -> None:
        for line in processes[job].stdout or ():
            if re.fullmatch(r"progress \d+ \d+\n", line):
                counts[job], totals[job] = map(int, line.split()[1:])

    # A terminated command must not leave its jobs behind.
    before = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for job in jobs:
            log(job).parent.mkdir(parents=True, exist_ok=True)
            with open(log(job), "w", encoding="utf-8") as stream:
                processes[job] = subprocess.Popen(
                    [sys.executable, "-m", module, *argv, "--job", str(job)],
                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stream, text=True,
                    env=environment,
                )  # fmt: skip
            readers.append(threading.Thread(target=follow, args=(job,), daemon=True))
            readers[-1].start()
        while any(process.poll() is None for process in processes.values()):
            time.sleep(0.05)
            told = [totals[job] for job in jobs if totals[job] is not None or processes[job].poll() is None]
            if is_sum and None not in told:
                progress.total = sum(filter(None, told))
            progress.update(progress.first + sum(counts.values()))
        for reader in readers:
            reader.join(timeout=5)
    finally:
        for process in processes.values():
            if process.poll() is None:
                process.terminate()
                process.wait()
            if process.stdout:
                process.stdout.close()
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    failed = [job for job, process in processes.items() if process.returncode]
    if failed:
        code = processes[failed[0]].returncode
        why = f"was killed by signal {-code}" if code < 0 else f"failed with status {code}"
        words = log(failed[0]).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise InputError(
            f"job {failed[0]} {why}{': ' + words[-1] if words else ''} ({len(failed)} of {len(jobs)} failed)",
            where=log(failed[0]),
            mend="run the same again: finished jobs are kept",
        )
    progress.update(progress.total or sum(counts.values()))
    progress.show(end=True)


def run_launcher(
    launcher: str, module: str, argv: Sequence[str], count: int, log: Callable[[str], Path]
) -> None:
    """Run jobs 1 to ``count`` by ``LAUNCHER JOB=1:N LOG python -m module argv --job JOB``.

    In place of JOB stands a name that no path has, as launchers replace it wherever they find it.

    Args:
        launcher: a command of ``cmd.sh`` with its options.
        module, argv: what to run.
        count: how many jobs.
        log: the log of a job.

    Raises:
        InputError: the launcher failed.
    """
    logs = str(log(_JOB))
    command = [*shlex.split(launcher), f"{_JOB}=1:{count}", logs, sys.executable, "-m", module, *argv]
    try:
        done = subprocess.run([*command, "--job", _JOB], env=os.environ | ONE_THREAD, check=False)
    except OSError as error:
        raise InputError(f"cannot be started: {error.strerror}", where=f"--cmd {launcher!r}") from error
    if done.returncode:
        raise InputError(
            f"the launcher ended with status {done.returncode}",
            where=log("*"),
            mend="see the logs; run the same again: finished jobs are kept",
        )

"""Jobs that are processes of this command: started here, or through a launcher such as that of ``cmd.sh``.

A local job prints ``progress N`` on its standard output now and then; its log takes the rest.
"""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from speechrep.errors import InputError

ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)


def check_jobs(nj: int, job: int) -> None:
    """Refuse numbers of ``--nj`` and ``--job`` (0: not one of them) that make no sense."""
    if nj < 1:
        raise InputError(f"want 1 or more, got {nj}", where="--nj")
    if not 0 <= job <= nj:
        raise InputError(f"want one of 1 to {nj}, got {job}", where="--job")


class Progress:
    """A count with speed and remaining time on stderr: a line that is overwritten on a terminal, else lines.

    Args:
        total: what 100 % is; 0 if not known.
        unit: of what, such as ``"utterances"``.
        done: how many are done already.
    """

    def __init__(self, total: int, unit: str, done: int = 0):
        self.total, self.unit, self.first, self.done = total, unit, done, done
        self._start = time.monotonic()
        self._interval = 0.2 if sys.stderr.isatty() else 10.0
        self._shown = self._start

    def update(self, done: int) -> None:
        """Set the count, and show it if it is time."""
        self.done = done
        if time.monotonic() - self._shown >= self._interval:
            self.show()

    def show(self, end: bool = False) -> None:
        """Show the count now."""
        self._shown = time.monotonic()
        elapsed = self._shown - self._start
        speed = (self.done - self.first) / elapsed if elapsed > 0 else 0.0
        left = f"{(self.total - self.done) / speed:.0f} s left" if speed > 0 and self.total else "running"
        count = f"{self.done}/{self.total}" if self.total else f"{self.done}"
        text = f"{count} {self.unit}, {speed:.1f}/s, " + (f"took {elapsed:.0f} s" if end else left)
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{text}" + ("\n" if end else ""))
        else:
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def reporter() -> Callable[[int], None]:
    """What a job calls with its count; prints it for :func:`run_local`, at most twice a second."""
    last = time.monotonic()

    def report(done: int) -> None:
        nonlocal last
        if time.monotonic() - last > 0.5:
            last = time.monotonic()
            sys.stdout.write(f"progress {done}\n")
            sys.stdout.flush()

    return report


def run_local(
    module: str, argv: Sequence[str], jobs: Sequence[int], log: Callable[[int], Path], progress: Progress
) -> None:
    """Run ``python -m module argv --job J`` for each job, all at once, each on one thread.

    Raises:
        InputError: a job failed, naming its log; the others are left to finish first.
    """
    import speechrep

    path = [str(Path(speechrep.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, path))}
    counts = dict.fromkeys(jobs, 0)
    processes: dict[int, subprocess.Popen[str]] = {}
    readers = []

    def follow(job: int) -> None:
        for line in processes[job].stdout or ():
            if line.startswith("progress "):
                counts[job] = int(line.split()[1])

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


def run_launcher(launcher: str, module: str, argv: Sequence[str], count: int, log: Path) -> None:
    """Run jobs 1 to ``count`` by ``LAUNCHER JOB=1:N LOG python -m module argv --job JOB``.

    Args:
        launcher: a command of ``cmd.sh`` with its options.
        module, argv: what to run.
        count: how many jobs.
        log: with ``JOB`` in its name.

    Raises:
        InputError: the launcher failed.
    """
    command = [*shlex.split(launcher), f"JOB=1:{count}", str(log), sys.executable, "-m", module, *argv]
    try:
        done = subprocess.run([*command, "--job", "JOB"], env=os.environ | ONE_THREAD, check=False)
    except OSError as error:
        raise InputError(f"cannot be started: {error.strerror}", where=f"--cmd {launcher!r}") from error
    if done.returncode:
        raise InputError(
            f"the launcher ended with status {done.returncode}",
            where=log,
            mend="see the logs; run the same again: finished jobs are kept",
        )

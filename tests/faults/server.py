"""Runs commands of the recipe in forks of one process that has imported everything: a fault costs no start.

Reads a job as a line of JSON on its standard input, answers with one on its standard output.
"""

import contextlib
import json
import os
import runpy
import signal
import sys
import time
from pathlib import Path

import h5py  # noqa: F401 imported for the forks, as what follows
import safetensors.numpy  # noqa: F401
import soundfile  # noqa: F401
from seals import refuse_damaged
from step import fingerprints

from speechrep.errors import InputError

if "light" not in sys.argv:
    import torch

    import speechrep.downstream.registry
    import speechrep.train.trainer
    import speechrep.upstream.registry  # noqa: F401

    torch.set_num_threads(1)


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        job = json.loads(line)
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            live(job)
        status, seconds = wait(child, job["limit_s"])
        print(json.dumps({"status": status, "seconds": seconds}), flush=True)


def live(job: dict) -> None:
    """The life of a fork: check the inputs as utils/step.py does, then be ``python -m module words``."""
    status = 1
    try:
        os.environ.update(job["environment"], FAULT_MAIN=str(os.getpid()))  # before the shim looks
        os.setsid()
        os.chdir(job["folder"])
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        module, *words = job["command"]
        try:
            inputs = tuple(map(Path, job["inputs"]))
            fingerprints(inputs)
            refuse_damaged(inputs)
        except (InputError, OSError) as error:
            sys.exit(f"step.py: error: {error}")
        sys.argv = [module, *words]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = 1 if isinstance(end.code, str) else int(end.code or 0)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        sys.stdout.flush()
        os._exit(status)


def wait(child: int, limit_s: float) -> tuple[int | None, float]:
    """Status of a fork, negative if a signal ended it, None if it hung; and how long it took."""
    began, status = time.monotonic(), None
    while time.monotonic() - began < limit_s:
        ended, raw = os.waitpid(child, os.WNOHANG)
        if ended:
            status = os.waitstatus_to_exitcode(raw)
            break
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # its jobs, too
    if status is None:
        os.waitpid(child, 0)
    return status, time.monotonic() - began


if __name__ == "__main__":
    main()

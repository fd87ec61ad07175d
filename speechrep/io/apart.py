"""Reading in a process apart: what kills a library or never ends there costs this process nothing."""

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from speechrep.errors import InputError

_VALUE, _REFUSED, _FAULT = b"V", b"R", b"F"  # what an answer begins with


def read_apart(read: Callable[[], bytes], where: object, cpu_s: int, memory: int, mend: str = "") -> bytes:
    """What ``read`` returns, called in a process of its own.

    Args:
        read: it sees what this process has in memory, and changes none of it.
        where: the file, for errors.
        cpu_s: seconds of processor time that it may take.
        memory: bytes that it may take beyond those in use (where the system tells how many are).
        mend: what to do about a file that cannot be read so.

    Raises:
        InputError: that of ``read``; or its process died, or took too much time or memory.
        RuntimeError: any other exception of ``read``, with its traceback.
    """
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        try:
            _limit(resource.RLIMIT_CPU, cpu_s)  # SIGXCPU
            _limit(resource.RLIMIT_CORE, 0)
            if Path("/proc/self/statm").exists():
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                _limit(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)
            with open(sink, "wb") as stream:
                stream.write(_answer(read))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(sink)
    with open(source, "rb") as stream:
        answer = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        how = "takes too much memory" if code > 0 else f"ends with {signal.Signals(-code).name}"
        if -code == signal.SIGXCPU:
            how = f"does not end in {cpu_s} s"
        raise InputError(f"reading it {how}: it is damaged", where=where, mend=mend)
    kind, content = answer[:1], answer[1:]
    if kind == _REFUSED:
        what, place, hint = json.loads(content)
        raise InputError(what, where=place, mend=hint)
    if kind == _FAULT:
        raise RuntimeError(content.decode())
    return content


def _answer(read: Callable[[], bytes]) -> bytes:
    try:
        return _VALUE + read()
    except InputError as error:
        return _REFUSED + json.dumps([error.what, error.where, error.mend]).encode()
    except MemoryError:
        raise
    except Exception:
        return _FAULT + traceback.format_exc().encode("utf-8", "replace")


def _limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))

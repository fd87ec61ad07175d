"""Child processes that are never left behind: signals reach them, and they end when their parent does."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import IO

POLL_S = 0.02


class Children:
    """Starts processes, each in a session of its own, and forwards INT, TERM and HUP to them.

    A second signal, or ``grace_s`` seconds after the first, kills what is still there.
    """

    def __init__(self, grace_s: float):
        self.grace_s = grace_s
        self.signal = 0  # the first signal received
        self.live: list[subprocess.Popen] = []
        self._kill_at = float("inf")
        self._numbers = (signal.SIGINT, signal.SIGTERM, *hangup())
        for number in self._numbers:
            signal.signal(number, self._receive)
        end_with_parent()

    @contextlib.contextmanager
    def forwarding_only(self) -> Iterator[None]:
        """Meanwhile a signal ends this process at once if there is no child to forward it to."""
        handlers = {} if self.live else {n: signal.signal(n, signal.SIG_DFL) for n in self._numbers}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def start(
        self,
        argv: Sequence[str],
        output: int | IO | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.Popen:
        """Start ``argv`` with both its output streams to ``output``.

        Inheritable descriptors are inherited: the lock of a step, kept open, outlives a killed parent.

        Raises:
            OSError: there is no such program.
        """
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env,
            start_new_session=True, preexec_fn=end_with_parent, close_fds=False,
        )  # fmt: skip
        self.live.append(child)
        if self.signal:  # it came while the child was starting
            self._send(child, self.signal)
        return child

    def finished(self) -> list[subprocess.Popen]:
        """Those that ended since the last call."""
        if time.monotonic() > self._kill_at:
            for child in self.live:
                self._send(child, signal.SIGKILL)
        ended = [child for child in self.live if child.poll() is not None]
        self.live = [child for child in self.live if child not in ended]
        return ended

    def wait(self) -> None:
        """Let a moment pass."""
        time.sleep(POLL_S)

    def end_like_signal(self) -> None:
        """If a signal was received, die of it, so that the caller sees an interrupt and not a failure."""
        if self.signal:
            signal.signal(self.signal, signal.SIG_DFL)
            os.kill(os.getpid(), self.signal)

    def _receive(self, number: int, _frame: object) -> None:
        again = bool(self.signal)
        self.signal = self.signal or number
        self._kill_at = time.monotonic() + (0 if again else self.grace_s)
        for child in self.live:
            self._send(child, number)

    def _send(self, child: subprocess.Popen, number: int) -> None:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it may have just ended
                os.killpg(child.pid, number)


def hangup() -> list[signal.Signals]:
    """SIGHUP, as the signal to end that it is, unless nohup has told to ignore it."""
    return [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]


def end_with_parent() -> None:
    """Ask the kernel for a TERM when the parent dies, even of a KILL (Linux; elsewhere nothing)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGTERM)

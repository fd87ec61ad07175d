"""How far a command is: count, speed and remaining time, now and then, for every step that may take long."""

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
# In the environment of a job whose parent shows the progress of all jobs: it only tells its counts.
FOR_PARENT = {"SPEECHREP_PROGRESS": "parent"}
CLEAR = "\r\x1b[K"  # the line of a terminal
IN_LOG_S, ON_TERMINAL_S, FOR_PARENT_S = 10.0, 0.2, 0.5  # from one count to the next


class Progress:
    """A count, shown on stderr: a line that is overwritten on a terminal, else lines.

    A job with :data:`FOR_PARENT` prints ``progress N TOTAL`` on stdout instead.

    Args:
        total: what 100 % is; 0 if not known.
        unit: of what, such as ``"utterances"``.
        done: how many are done already.

    Attributes:
        note: what is shown behind the count.
    """

    def __init__(self, total: int, unit: str, done: int = 0):
        self.total, self.unit, self.first, self.done, self.note = total, unit, done, done, ""
        self._start = time.monotonic()
        self._for_parent = FOR_PARENT.items() <= os.environ.items()
        visible = ON_TERMINAL_S if sys.stderr.isatty() else IN_LOG_S
        self._interval = FOR_PARENT_S if self._for_parent else visible
        self._shown = self._start

    def over(self, items: Iterable[T]) -> Iterator[T]:
        """The items, each counted once what is made of it is made."""
        for item in items:
            yield item
            self.update(self.done + 1)
        self.show(end=True)

    def update(self, done: int) -> None:
        """Set the count, and show it if it is time."""
        self.done = done
        if time.monotonic() - self._shown >= self._interval:
            self.show()

    def show(self, end: bool = False) -> None:
        """Show the count now."""
        self._shown = time.monotonic()
        if self._for_parent:
            print(f"progress {self.done} {self.total}", flush=True)
            return
        elapsed = self._shown - self._start
        speed = (self.done - self.first) / elapsed if elapsed > 0 else 0.0
        left = f"{clock((self.total - self.done) / speed)} left" if speed > 0 and self.total else "running"
        count = f"{self.done}/{self.total}" if self.total else f"{self.done}"
        pace = f"{speed:.1f}" if speed >= 1 else f"{speed:.2g}"
        text = f"{count} {self.unit}, {pace}/s, " + (f"took {clock(elapsed)}" if end else left)
        text += self.note
        if end or not sys.stderr.isatty():
            _write(f"{CLEAR if sys.stderr.isatty() else ''}{text}\n")
        else:
            _write(f"{CLEAR}{text[: _width() - 1]}")  # what goes on in the next line would not be cleared

    def say(self, text: str) -> None:
        """A line of text above the count on a terminal."""
        _write(f"{CLEAR}{text}\n")
        self.show()


def _write(text: str) -> None:
    with contextlib.suppress(OSError):  # of a terminal that was closed: that ends no work
        sys.stderr.write(text)
        sys.stderr.flush()


def _width() -> int:
    """Columns of the terminal."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def clock(seconds: float) -> str:
    """``"99 s"``, and more as ``h:mm:ss``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, seconds_left = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds_left:02d}"

"""The one exception for everything a user can mend: bad options, bad data, bad files."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any


class InputError(ValueError):
    """Bad input, told so that the reader can mend it.

    Args:
        what: what is wrong, with the offending value.
        where: the file, utterance or option it was found in.
        mend: what to do about it.
    """

    def __init__(self, what: str, *, where: object = "", mend: str = ""):
        self.what, self.where, self.mend = what, str(where), mend
        super().__init__(what, where, mend)

    def __str__(self) -> str:
        head = f"{self.where}: " if self.where else ""
        tail = f" ({self.mend})" if self.mend else ""
        return f"{head}{self.what}{tail}"

    def __reduce__(self) -> tuple[Any, ...]:
        """For processes that send it to another."""
        return functools.partial(type(self), where=self.where, mend=self.mend), (self.what,)

    def told(self, what: str = "", *, where: object = "", mend: str = "") -> "InputError":
        """The same with more about what is wrong, of another place, or with another way to mend it."""
        return type(self)(what or self.what, where=where or self.where, mend=mend or self.mend)


@contextlib.contextmanager
def telling_of(where: object) -> Iterator[None]:
    """What the system says of a file in the block as InputError: a failed read does not tell of which file.

    Args:
        where: the file.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError("no such file", where=where) from None
    except OSError as error:
        raise InputError(error.strerror or str(error), where=error.filename or where) from error

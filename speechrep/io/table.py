"""Kaldi's text tables: one ``key value...`` per line, sorted by key in C order."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import IO

from speechrep.errors import InputError, telling_of
from speechrep.io.files import atomic_open

_BLANKS = re.compile("[ \t]+")
_MARK = "\ufeff"  # the byte order mark, with which some editors begin a file


def read_rows(
    path: str | os.PathLike[str], stream: IO[bytes] | None = None, *, indented: bool = False
) -> Iterator[tuple[int, str, str]]:
    """The lines of a table as ``(line number from 1, key, value)``, in the file's order, unchecked.

    The value is what follows the first run of blanks, without the blanks at its end; it may be empty.

    Args:
        path: the file.
        stream: what is read in its place; ``path`` is for messages then.
        indented: whether a line may begin with blanks, as Kaldi lets those of an scp.

    Raises:
        InputError: no such file, a line that is empty or begins with a blank or a byte order mark, or bytes
            that are not UTF-8.
    """
    if stream is None:
        with _opened(path) as file:
            yield from read_rows(path, file, indented=indented)
        return
    for number, line in enumerate(_lines(stream, path), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"not UTF-8: {error.reason}", where=f"{path}:{number}") from error
        if text.startswith(_MARK):
            raise InputError(
                "begins with a byte order mark", where=f"{path}:{number}", mend="save it without"
            )
        if text.endswith("\r\n"):
            raise InputError("the line ends with a carriage return", where=f"{path}:{number}")
        text = text.rstrip(" \t\n")
        words = _BLANKS.split(text.lstrip(" \t") if indented else text, maxsplit=1)
        if not words[0]:
            what = "begins with a blank" if len(words) == 2 else "empty line"
            raise InputError(f"{what}; want 'key value'", where=f"{path}:{number}")
        yield number, words[0], words[1] if len(words) == 2 else ""


def _opened(path: str | os.PathLike[str]) -> IO[bytes]:
    try:
        return open(path, "rb")
    except FileNotFoundError:
        raise InputError("no such file", where=path) from None
    except IsADirectoryError:
        raise InputError("is a directory, want a file", where=path) from None


def _lines(stream: IO[bytes], path: str | os.PathLike[str]) -> Iterator[bytes]:
    with telling_of(path):
        yield from stream


def read_table(
    path: str | os.PathLike[str],
    stream: IO[bytes] | None = None,
    *,
    allow_empty: bool = False,
    indented: bool = False,
) -> dict[str, str]:
    """Read a table, keeping the order of its lines.

    Args:
        path, stream, indented: as in :func:`read_rows`.
        allow_empty: whether a key may stand alone, as a hypothesis without words does; its value is ``""``.

    Raises:
        InputError: as :func:`read_rows`; a key given twice or, unless allowed, one without a value.
    """
    table: dict[str, str] = {}
    for number, key, value in read_rows(path, stream, indented=indented):
        if key in table:
            raise InputError(f"{key!r} is given twice", where=f"{path}:{number}")
        if not value and not allow_empty:
            raise InputError(f"{key!r} has no value", where=f"{path}:{number}")
        table[key] = value
    return table


def write_table(path: str | os.PathLike[str], mapping: Mapping[str, str]) -> None:
    """Write a table, atomically and sorted by key in C order.

    Raises:
        InputError: a key that is empty or holds a blank, or a value that holds a line break.
    """
    with atomic_open(path) as stream:
        for key in sorted(mapping):  # Python compares code points, which orders UTF-8 as its bytes do
            value = mapping[key]
            if not key or key.split() != [key] or key.startswith(_MARK):
                raise InputError(f"{key!r} cannot be a key", where=path)
            if "\n" in value or "\r" in value:
                raise InputError(f"the value of {key!r} holds a line break", where=path)
            stream.write(f"{key} {value}\n" if value else f"{key}\n")

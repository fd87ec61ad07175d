"""Kaldi's specifiers: ``ark:feats.ark``, ``scp:feats.scp``, ``ark,scp:out.ark,out.scp``, ``ark,t:-``.

Options that only hint at the order (``o s cs bg``) are taken and need nothing here; ``p`` skips what cannot
be read; ``t`` and ``b`` choose text or binary, which a reader sees for itself; ``f`` flushes after each
entry. Commands (``cmd |`` and ``| cmd``) run only where the caller allows pipes.
"""

import contextlib
import functools
import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from speechrep.errors import InputError
from speechrep.io.ark import ArkWriter, Source, iter_ark, load_scp, open_ark, read_matrix
from speechrep.io.checked_file import sums_path
from speechrep.io.files import atomic_open
from speechrep.io.table import read_table

_log = logging.getLogger("speechrep.io")
_READ_OPTIONS = {"o", "no", "s", "ns", "cs", "ncs", "p", "np", "bg", "t", "b"}
_DRAIN_BYTES = 1 << 16
_WRITE_OPTIONS = {"t", "b", "f", "nf", "p", "np"}


class Specifier(NamedTuple):
    """What a specifier says."""

    ark: str  # file, "-" or command; "" if there is none
    scp: str
    options: frozenset[str]


def parse_reader(text: str) -> Specifier:
    """Parse an rspecifier, ``ark[,options]:X`` or ``scp[,options]:X``.

    Raises:
        InputError: it is none.
    """
    kinds, options, rest = _split(text, _READ_OPTIONS)
    if len(kinds) != 1:
        raise InputError(f"{text!r} is no rspecifier; want ark:FILE or scp:FILE")
    return Specifier(rest if kinds == ["ark"] else "", rest if kinds == ["scp"] else "", options)


def parse_writer(text: str) -> Specifier:
    """Parse a wspecifier, ``ark:X`` or ``ark,scp:X,Y``.

    Raises:
        InputError: it is none; ``scp:X`` alone, which would write over archives that are there, is not taken.
    """
    kinds, options, rest = _split(text, _WRITE_OPTIONS)
    if kinds == ["ark"]:
        return Specifier(rest, "", options)
    parts = rest.split(",")
    if kinds != ["ark", "scp"] or len(parts) != 2 or not all(parts):
        raise InputError(f"{text!r} is no wspecifier; want ark:FILE or ark,scp:FILE,FILE")
    return Specifier(parts[0], parts[1], options)


def read_entries(text: str, *, allow_pipes: bool = False) -> Iterator[tuple[str, np.ndarray]]:
    """The entries that an rspecifier names, in order, one in memory at a time.

    Args:
        text: the rspecifier.
        allow_pipes: whether commands are run.

    Raises:
        InputError: a bad specifier; a damaged entry, unless it has the option ``p``.
    """
    specifier = parse_reader(text)
    permissive = "p" in specifier.options
    if specifier.ark:
        with _open_input(specifier.ark, allow_pipes) as stream:
            try:
                yield from iter_ark(Source(stream, specifier.ark))
            except InputError as error:  # what follows a damaged entry cannot be found
                if not permissive:
                    raise
                _log.warning("%s; the rest is left out", error)
        return
    opener = functools.partial(_open_input, allow_pipes=allow_pipes)
    for key, spec in _read_scp(specifier.scp, allow_pipes).items():
        try:
            matrix = read_matrix(spec, opener=opener)
        except InputError as error:
            if not permissive:
                raise error.told(f"utterance {key!r}: {error.what}") from error
            _log.warning("utterance %r left out: %s", key, error)
            continue
        yield key, matrix


@contextlib.contextmanager
def open_writer(text: str, method: int = 0, *, allow_pipes: bool = False) -> Iterator["TableWriter"]:
    """Open what a wspecifier names; files appear when the block ends without error.

    Args:
        text: the wspecifier.
        method: Kaldi's compression method for matrices, 0 for none.
        allow_pipes: whether commands are run.
    """
    specifier = parse_writer(text)
    with contextlib.ExitStack() as stack:
        # The archive has its name before the table that points into it, and no older table points into it.
        scp = stack.enter_context(_open_table(specifier.scp)) if specifier.scp else None
        ark = stack.enter_context(_open_output(specifier.ark, allow_pipes, scp=specifier.scp))
        yield TableWriter(ark, scp, specifier, method)


class TableWriter:
    """Writes entries to an archive and their positions to a table."""

    def __init__(self, ark: IO[bytes], scp: IO[str] | None, specifier: Specifier, method: int):
        self._ark = ArkWriter(ark, method, text="t" in specifier.options)
        self._stream, self._scp, self._specifier = ark, scp, specifier
        self._path = Path(specifier.ark).absolute()

    def write(self, key: str, value: np.ndarray) -> None:
        """Write one entry, as :meth:`ArkWriter.write`."""
        self._ark.write(key, value)
        if self._scp:
            self._scp.write(f"{key} {self._path}:{self._ark.offset}\n")
        if "f" in self._specifier.options:
            self._stream.flush()


def _split(text: str, known: set[str]) -> tuple[list[str], frozenset[str], str]:
    """Kinds (``ark``, ``scp``) in their order, the options, and what follows the colon."""
    head, colon, rest = text.partition(":")
    words = head.split(",")
    kinds = [word for word in words if word in ("ark", "scp")]
    options = frozenset(words) - {"ark", "scp"}
    if not colon or not rest or len(set(kinds)) != len(kinds) or not kinds:
        raise InputError(f"{text!r} is no specifier; want ark:FILE or scp:FILE")
    if options - known:
        raise InputError(f"unknown option {min(options - known)!r} in {text!r}; known are {sorted(known)}")
    return kinds, options, rest


def _read_scp(name: str, allow_pipes: bool) -> dict[str, str]:
    """The table that a file, standard input or a command holds; only a file has a place to look beside."""
    if name != "-" and not name.endswith("|"):
        return load_scp(name)
    with _open_input(name, allow_pipes) as stream:
        return read_table(name, stream, indented=True)


@contextlib.contextmanager
def _open_input(name: str, allow_pipes: bool) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdin.buffer
    elif name.endswith("|"):
        with _process(name, name[:-1], allow_pipes, stdout=subprocess.PIPE) as process:
            yield process.stdout  # type: ignore[misc]
            while process.stdout.read(_DRAIN_BYTES):  # type: ignore[union-attr]
                pass  # what follows the one object of an scp's line; else the command would die of it
    else:
        with open_ark(name) as stream:
            yield stream


def _open_table(name: str) -> contextlib.AbstractContextManager[IO[str]]:
    return contextlib.nullcontext(sys.stdout) if name == "-" else atomic_open(name)


@contextlib.contextmanager
def _open_output(name: str, allow_pipes: bool, scp: str = "") -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    elif name.startswith("|"):
        with _process(name, name[1:], allow_pipes, stdin=subprocess.PIPE) as process:
            yield process.stdin  # type: ignore[misc]
    else:
        with atomic_open(name, "wb") as stream:
            yield stream
            sums_path(name).unlink(missing_ok=True)  # of what was there
            if Path(scp).is_file():
                Path(scp).unlink()


@contextlib.contextmanager
def _process(
    name: str, command: str, allow_pipes: bool, stdin: int | None = None, stdout: int | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    if not allow_pipes:
        raise InputError("is a command", where=name, mend="give --allow-pipes true if you trust it")
    words = ["bash", "-o", "pipefail", "-c", command]
    unread: InputError | None = None
    has_left = False
    with subprocess.Popen(words, stdin=stdin, stdout=stdout) as process:
        try:
            yield process
            if process.stdin:
                process.stdin.close()
        except InputError as error:  # perhaps because the command failed, which is what to tell then
            unread = error
        except BrokenPipeError:
            if not process.stdin:  # another reader left, that of our output
                raise
            has_left = True
            with contextlib.suppress(BrokenPipeError):  # of what is still to be written
                process.stdin.close()
    broke_off = process.returncode in (0, -signal.SIGPIPE, 128 + signal.SIGPIPE)  # as we read no further
    if unread and (stdin or broke_off):
        raise unread
    if has_left and not process.returncode:
        raise InputError("the command ended before it had read everything", where=name)
    if process.returncode:
        raise InputError(f"the command failed with status {process.returncode}", where=name) from unread

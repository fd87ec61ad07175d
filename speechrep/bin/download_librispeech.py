"""Fetch parts of LibriSpeech: from OpenSLR, any mirror over http, or a folder that holds the archives.

    python -m speechrep.bin.download_librispeech --parts "dev-clean-2 train-clean-5" --out-dir downloads

Archives land in ``--out-dir`` (a partial one as ``.part``, continued by the next run), are checked by size
and MD5 and unpacked into ``OUT/LibriSpeech/<part>/``, where ``.complete`` is written last.
"""

import dataclasses
import hashlib
import http.client
import logging
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, opt
from speechrep.errors import InputError
from speechrep.io.files import atomic_open, commit_file, fsync
from speechrep.progress import Progress

_log = logging.getLogger(__name__)

OPENSLR = "https://www.openslr.org/resources"
COMPLETE = ".complete"
_BLOCK = 1 << 20
_MB = 10**6


@dataclasses.dataclass(frozen=True)
class Part:
    """One archive.

    Attributes:
        resource: its number at OpenSLR.
        num_bytes: its size.
        md5: in hex.
    """

    resource: int
    num_bytes: int
    md5: str


# Sizes and sums as OpenSLR publishes them (md5sum.txt of resources 12 and 31).
PARTS: dict[str, Part] = {
    "dev-clean": Part(12, 337926286, "42e2234ba48799c1f50f24a7926300a1"),
    "dev-other": Part(12, 314305928, "c8d0bcc9cca99d4f8b62fcc847357931"),
    "test-clean": Part(12, 346663984, "32fa31d27d2e1cad72775fee3f4849a9"),
    "test-other": Part(12, 328757843, "fb5a50374b501bb3bac4815ee91d3135"),
    "train-clean-100": Part(12, 6387309499, "2a93770f6d5c6c964bc36631d331a522"),
    "train-clean-360": Part(12, 23049477885, "c0e676e450a7ff2f54aeade5171606fa"),
    "train-other-500": Part(12, 30593501606, "d1a0fd59409feb2c614ce4d30c387708"),
    "dev-clean-2": Part(31, 126046265, "6d7ab67ac6a1d2c993d050e16d61080d"),
    "train-clean-5": Part(31, 332954390, "5df7d4e78065366204ca6845bb08f490"),
}


@dataclasses.dataclass(frozen=True)
class DownloadConfig:
    """Where from, and how patiently."""

    url: str = opt(OPENSLR, "OpenSLR's resources, a mirror of one resource's folder, or a local folder")
    tries: int = opt(5, "attempts at an archive; each continues where the last broke off")
    wait_s: float = opt(5.0, "seconds before the second attempt, doubled before each further one")
    timeout_s: float = opt(60.0, "seconds without data after which an attempt has failed")
    remove_archive: bool = opt(False, "delete an archive once it is unpacked")


def fetch_part(
    name: str, out_dir: str | os.PathLike[str], config: DownloadConfig, parts: Mapping[str, Part] = PARTS
) -> Path:
    """Fetch, check and unpack one part; does nothing where it is complete.

    Args:
        name: a key of ``parts``.
        out_dir: where ``LibriSpeech/<name>/`` is made.
        config: where from.
        parts: the known archives.

    Returns:
        The folder of the part.

    Raises:
        InputError: an unknown part, a source that does not have it, or an archive that is not what it should
            be.
    """
    if name not in parts:
        raise InputError(f"no part {name!r}; known are {', '.join(parts)}", where="--parts")
    if config.tries < 1:
        raise InputError(f"is {config.tries}, want 1 or more", where="--tries")
    out_dir, part = Path(out_dir), parts[name]
    folder = out_dir / "LibriSpeech" / name
    if (folder / COMPLETE).is_file():
        _log.info("%s is complete", folder)
        return folder
    local = _local_source(config.url, f"{name}.tar.gz", part.resource)
    if local is not None:
        archive = local
        _require_archive(archive, part, mend="fetch it again")
    else:
        archive = out_dir / f"{name}.tar.gz"
        _obtain(archive, part, config)
    _log.info("unpacking %s", archive)
    unpack(archive, out_dir)
    if not folder.is_dir():
        raise InputError(f"does not hold LibriSpeech/{name}/", where=archive)
    os.sync()  # all files at once: the marker must not reach the disk before them
    with atomic_open(folder / COMPLETE) as stream:
        stream.write(f"{part.md5}\n")
    if config.remove_archive and local is None:
        archive.unlink()
    return folder


def _obtain(archive: Path, part: Part, config: DownloadConfig) -> None:
    """Download ``archive`` unless it is there, whole."""
    if archive.is_file():
        try:
            _require_archive(archive, part)
            return
        except InputError as error:
            _log.warning("%s; fetching it anew", error)
            archive.unlink()
    archive.parent.mkdir(parents=True, exist_ok=True)
    partial = archive.with_name(f"{archive.name}.part")
    address = _address(config.url, archive.name, part.resource)
    _download(address, partial, part.num_bytes, config)
    try:
        _require_archive(partial, part, mend=f"deleted; run again, or try another --url than {address}")
    except InputError:
        partial.unlink()
        raise
    commit_file(partial, archive)


def _require_archive(path: Path, part: Part, mend: str = "") -> None:
    size = path.stat().st_size
    if size != part.num_bytes:
        raise InputError(f"has {size} bytes, want {part.num_bytes}", where=path, mend=mend)
    found = _md5(path)
    if found != part.md5:
        raise InputError(f"has MD5 {found}, want {part.md5}", where=path, mend=mend)


def _local_source(url: str, name: str, resource: int) -> Path | None:
    """The archive in a local folder (flat, or with OpenSLR's numbers), None for an address."""
    if url.startswith(("http://", "https://")):
        return None
    folder = Path(urllib.parse.unquote(url.removeprefix("file://")))
    for path in (folder / name, folder / str(resource) / name):
        if path.is_file():
            return path
    raise InputError(f"no {name} here", where=folder, mend="--url is an http address or holds the archives")


def _address(url: str, name: str, resource: int) -> str:
    """A mirror's address is the folder of the archives; OpenSLR's own has one folder per resource."""
    base = url.rstrip("/")
    return f"{base}/{resource}/{name}" if base.endswith("/resources") else f"{base}/{name}"


def _download(address: str, partial: Path, num_bytes: int, config: DownloadConfig) -> None:
    wait_s = config.wait_s
    for attempt in range(1, config.tries + 1):
        before = partial.stat().st_size if partial.exists() else 0
        if before > num_bytes:
            partial.unlink()
            before = 0
        if before == num_bytes:
            return
        try:
            _download_rest(address, partial, before, num_bytes, config.timeout_s)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 416, 429):  # trying again will not help
                raise InputError(f"the server says {error.code} {error.reason}", where=address) from None
            if error.code == 416:  # it has less than we hold: not the same file
                partial.unlink()
            reason: object = error
        except (OSError, http.client.HTTPException) as error:
            reason = error
        else:
            return
        got = partial.stat().st_size if partial.exists() else 0
        _log.warning(
            "%s: attempt %d broke off at %d of %d bytes: %s", address, attempt, got, num_bytes, reason
        )
        if attempt < config.tries:
            time.sleep(wait_s)
            wait_s *= 2
    raise InputError(
        f"not fetched in {config.tries} attempts: {reason}", where=address,
        mend="run again to continue, or try another --url",
    )  # fmt: skip


def _download_rest(address: str, partial: Path, before: int, num_bytes: int, timeout_s: float) -> None:
    """One attempt: the bytes from ``before`` on, appended; from the start if the server cannot continue."""
    request = urllib.request.Request(address, headers={"Range": f"bytes={before}-"} if before else {})  # noqa: S310
    with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310 (http or https, see _local_source)
        continues = reply.status == 206 and _range_start(reply.headers.get("Content-Range", "")) == before
        written = before if continues else 0
        progress = Progress(num_bytes // _MB, "MB fetched", written // _MB)
        with open(partial, "ab" if continues else "wb") as stream:
            while block := reply.read(_BLOCK):
                written += len(block)
                if written > num_bytes:  # not our archive; do not fill the disk with it
                    break
                stream.write(block)
                progress.update(written // _MB)
        progress.show(end=True)
    fsync(partial)
    if written < num_bytes:
        raise ConnectionError("the connection ended early")


def _range_start(content_range: str) -> int:
    """The first byte in ``bytes 100-199/200``; -1 if it says something else."""
    unit, _, span = content_range.partition(" ")
    start = span.split("-")[0]
    return int(start) if unit == "bytes" and start.isdecimal() else -1


def unpack(archive: str | os.PathLike[str], out_dir: str | os.PathLike[str]) -> None:
    """Unpack a tar.gz of plain files and folders below ``out_dir``; anything else in it is refused.

    Raises:
        InputError: a damaged archive, or a member that is a link or device or leads out of ``out_dir``.
    """
    try:
        with open(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r:gz") as tar:
            progress = Progress(os.path.getsize(archive) // _MB, "MB unpacked")
            for member in tar:
                _unpack_member(tar, member, Path(out_dir), archive)
                progress.update(stream.tell() // _MB)
            progress.show(end=True)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"cannot be unpacked: {error}", where=archive) from error


def _unpack_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, out_dir: Path, archive: str | os.PathLike[str]
) -> None:
    """Files are written by us, not by tarfile, whose extraction filters some Pythons lack."""
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or not (member.isreg() or member.isdir()):
        raise InputError(f"member {member.name!r} is not a plain file below it", where=archive)
    target = out_dir.joinpath(*name.parts)
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    source: IO[bytes] | None = tar.extractfile(member)
    assert source is not None, "a regular file has content"
    # Not through a temporary name: the part's marker, written last, tells whether its files are whole.
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, open(target, "wb") as stream:
        shutil.copyfileobj(source, stream, _BLOCK)


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)  # what OpenSLR publishes
    progress = Progress(path.stat().st_size // _MB, "MB checked")
    with open(path, "rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
            progress.update(stream.tell() // _MB)
    progress.show(end=True)
    return digest.hexdigest()


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--parts", required=True, help=f"which parts, blanks between: {', '.join(PARTS)}")
    parser.add_argument("--out-dir", required=True, help="gets the archives and LibriSpeech/")
    add_options(parser, DownloadConfig, title="source")
    args = parser.parse_args(argv)
    if not args.parts.split():
        parser.error("--parts names no part")
    config = from_options(DownloadConfig, args)
    for name in args.parts.split():
        if name not in PARTS:
            parser.error(f"--parts: no part {name!r}; known are {', '.join(PARTS)}")
    for name in args.parts.split():
        fetch_part(name, args.out_dir, config)


if __name__ == "__main__":
    run(main)

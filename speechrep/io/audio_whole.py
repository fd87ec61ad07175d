"""Whether an audio file holds all the samples that it should: libsndfile takes one that was cut short."""

import io
import math
import re
import struct
from typing import BinaryIO

from speechrep.errors import InputError

CHUNK = struct.Struct("<4sI")  # of a RIFF file: name and size
# Sizes from here on are what a program writes that could not go back to the header: SoX 0x7FFFF000 rounded
# down to whole blocks of all channels' samples, which have at most 65535 bytes.
_UNKNOWN_SIZE = 0x7FFFF000 - 0xFFFF
_OGG_PAGE = struct.Struct("<4sBB20xB")  # magic, version, flags, number of lengths that follow
_OGG_PAGE_MOST = _OGG_PAGE.size + 255 + 255 * 255  # bytes
_OGG_END = 4  # the flag of a stream's last page (RFC 3533, section 6)


def require_whole(stream: BinaryIO, where: str) -> None:
    """Refuse a WAV, SPHERE or OGG file that ends before its samples do: libsndfile does not say so."""
    head = stream.read(12)
    whole = stream.seek(0, io.SEEK_END)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        missing = _end_of_wav(stream, whole) - whole
    elif head.startswith(b"NIST_1A\n"):
        missing = _end_of_sphere(stream) - whole
    else:
        missing = 0
    if missing > 0:
        raise InputError(f"is cut short: {missing} bytes of samples are missing", where=where)
    if head.startswith(b"OggS") and not _ogg_ends(stream, whole):
        raise InputError("is cut short: no page of it ends the stream", where=where)
    stream.seek(0)


def _end_of_wav(stream: BinaryIO, whole: int) -> int:
    """Where the samples of a WAV file shall end, 0 if it does not say."""
    place = 12
    while place + CHUNK.size <= whole:
        stream.seek(place)
        name, size = CHUNK.unpack(stream.read(CHUNK.size))
        place += CHUNK.size + size
        if name == b"data":
            return place if size < _UNKNOWN_SIZE else 0
        place += size % 2
    return 0


def _end_of_sphere(stream: BinaryIO) -> int:
    """Where the samples of a NIST SPHERE file shall end, 0 if it does not say."""
    stream.seek(0)
    head = stream.read(1 << 14).partition(b"end_head")[0]
    size = re.match(rb"NIST_1A\n *(\d{1,9})\n", head)
    factors = re.findall(rb"^(?:sample_count|channel_count|sample_n_bytes) -\w+ (\d{1,18})\s*$", head, re.M)
    if size is None or len(factors) != 3 or b"embedded" in head:  # compressed: libsndfile refuses it
        return 0
    return int(size[1]) + math.prod(map(int, factors))


def _ogg_ends(stream: BinaryIO, whole: int) -> bool:
    """Whether the last page of an OGG file is whole and marked as the last."""
    stream.seek(max(0, whole - _OGG_PAGE_MOST))
    tail = stream.read()
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if not page.startswith(b"OggS"):
        return True  # a long tail of something else: libsndfile shall say
    if len(page) < _OGG_PAGE.size:
        return False
    _, _, flags, count = _OGG_PAGE.unpack_from(page)
    lengths = page[_OGG_PAGE.size :][:count]
    size = _OGG_PAGE.size + count + sum(lengths)
    return bool(flags & _OGG_END) and size <= len(page)

"""Damaged copies of good files: flipped bits, cut or repeated parts, other numbers, parts of other files."""

import random
import re
from collections.abc import Callable, Sequence

# Integers at which sizes and offsets go wrong.
EDGES = [0, 1, 2, 7, 127, 128, 255, 256, 4096, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1,
         2**40, 2**62, 2**63 - 1, 2**64 - 1]  # fmt: skip
NUMBERS = [b"0", b"-1", b"1", b"1e9", b"-1e-9", b"nan", b"inf", b"1e400", b"99999999999999999999", b"007",
           b"0x10", b"1_0", b"2147483648", b"4000000000", "\u0665".encode(), b""]  # fmt: skip
BYTES = [b"\0", b"\n", b"\r\n", b" ", b"\t", b"\xff", b"\xc3\xa9", b"\xe2\x80\xa8", b"\xed\xa0\x80", b"|",
         b"..", b"/", b"~", b'"', b"'", b"\\", b"[", b"]", b"{", b"}", b":", b",", b"-", b"#", b"<", b">",
         b"$(x)", b"\0B", b"\xef\xbb\xbf", b"\x1a"]  # fmt: skip
MAX_BYTES = 1 << 20


def mutated(seeds: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    """One to a few changes of one of ``seeds``; ``words`` are the format's own pieces."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        rng.choice(CHANGES)(data, rng, seeds, words)
    return bytes(data[:MAX_BYTES])


def _bit(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        data[rng.randrange(len(data))] = rng.randrange(256)


def _integer(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    width = rng.choice([1, 2, 4, 8])
    value = (rng.choice(EDGES) + rng.choice([0, 0, 1, -1])) % (1 << 8 * width)
    place = rng.randrange(len(data) + 1)
    data[place : place + width] = value.to_bytes(width, rng.choice(["little", "little", "big"]))


def _number(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    places = [match.span() for match in re.finditer(rb"[-+]?\d+(?:\.\d*)?", data)]
    if places:
        start, end = rng.choice(places)
        data[start:end] = rng.choice(NUMBERS)


def _cut(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    start, end = _span(data, rng)
    del data[start:end]


def _truncate(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    del data[rng.randrange(len(data) + 1) :]


def _repeat(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    start, end = _span(data, rng)
    data[end:end] = data[start:end] * rng.choice([1, 1, 2, 30])


def _insert(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    place = rng.randrange(len(data) + 1)
    data[place:place] = rng.choice([*BYTES, *words]) * rng.choice([1, 1, 1, 2, 100])


def _splice(data: bytearray, rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    other = bytearray(rng.choice(seeds))
    start, end = _span(other, rng)
    place = rng.randrange(len(data) + 1)
    data[place : place + rng.choice([0, end - start])] = other[start:end]


def _span(data: bytearray, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice([1, 2, 4, 16, 64, 1024]))


CHANGES: list[Callable[[bytearray, random.Random, Sequence[bytes], Sequence[bytes]], None]] = [
    _bit, _byte, _integer, _integer, _number, _cut, _truncate, _repeat, _insert, _splice,
]  # fmt: skip

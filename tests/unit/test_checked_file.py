"""Archives with checksums beside them: read as written, or refused."""

import errno
import io
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.errors import InputError
from speechrep.io.ark import read_matrix, write_ark
from speechrep.io.checked_file import checked_open, open_checked, sums_path
from speechrep.io.checks import BLOCK_BYTES as BLOCK
from speechrep.io.specifier import read_entries

RNG = np.random.default_rng(0)
SIZES = st.sampled_from([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 3 * BLOCK + 700])


def write(path, data, pieces=()):
    with checked_open(path) as stream:
        for begin, end in zip((0, *pieces), (*pieces, len(data)), strict=True):
            stream.write(data[begin:end])


PLACES = st.integers(0, 4 * BLOCK)


@given(size=SIZES, reads=st.lists(st.tuples(PLACES, PLACES), max_size=4), cuts=st.lists(PLACES, max_size=3))
@settings(max_examples=40, deadline=None)
def test_any_part_is_read_as_from_a_plain_file(tmp_path_factory, size, reads, cuts):
    path, data = tmp_path_factory.mktemp("x") / "x.ark", RNG.bytes(size)
    write(path, data, sorted(min(cut, size) for cut in cuts))
    assert path.read_bytes() == data and sums_path(path).is_file()
    with open_checked(path) as stream, io.BytesIO(data) as plain:
        assert stream.seek(0, io.SEEK_END) == size
        for place, count in reads:
            stream.seek(place)
            plain.seek(place)
            assert stream.read(count) == plain.read(count)
            assert stream.read(3) == plain.read(3)
        stream.seek(0)
        assert stream.read() == data


@given(size=st.integers(1, 3 * BLOCK), place=st.floats(0, 0.999), bit=st.integers(0, 7))
@settings(max_examples=30, deadline=None)
def test_a_changed_bit_is_told_where_it_is_read(tmp_path_factory, size, place, bit):
    path, data = tmp_path_factory.mktemp("x") / "x.ark", bytearray(RNG.bytes(size))
    write(path, data)
    where = int(place * size)
    good = bytes(data)
    data[where] ^= 1 << bit
    path.write_bytes(data)
    begin = where // BLOCK * BLOCK
    with open_checked(path) as stream:
        assert stream.read(begin) == good[:begin]
        with pytest.raises(InputError, match=rf"x\.ark: damaged: bytes {begin} to {begin + BLOCK}"):
            stream.read(1)
        stream.seek(begin + BLOCK)
        assert stream.read() == good[begin + BLOCK :]


def test_archives_and_their_checksums_belong_together(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "x.ark"
    feats = {"a": np.ones((700, 20), np.float32), "b": RNG.standard_normal((3, 20)).astype(np.float32)}
    write_ark(path, feats.items(), scp=tmp_path / "x.scp")
    good, sums = path.read_bytes(), sums_path(path).read_bytes()
    place = (tmp_path / "x.scp").read_text().split()[3]
    assert np.array_equal(read_matrix(place), feats["b"])
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(InputError, match=r"x\.ark: utterance '.': damaged: bytes 49152 .* \(put a good"):
        dict(read_entries(f"ark:{path}"))
    path.write_bytes(good[:-5])
    with pytest.raises(InputError, match=r"x\.ark: is not the archive of .*x\.ark\.crc32"):
        read_matrix(place)
    path.write_bytes(good)
    for damaged in (b"", b"16384\n", sums[:-9], b"16384 x\n", sums.replace(b"16384", b"16385")):
        sums_path(path).write_bytes(damaged)
        with pytest.raises(InputError, match=r"x\.ark\.crc32: damaged checksums"):
            read_matrix(place)
    sums_path(path).write_bytes(sums)
    with open_checked(path) as stream:
        os.truncate(sums_path(path), 20)
        with pytest.raises(InputError, match=r"x\.ark\.crc32: damaged checksums"):
            stream.read()
    sums_path(path).write_bytes(sums)
    with monkeypatch.context() as patched:
        patched.setattr(os, "pread", refuse)
        with pytest.raises(InputError, match=r"x\.ark\.crc32: Input/output error"):
            open_checked(path)
    sums_path(path).unlink()
    assert np.array_equal(read_matrix(place), feats["b"])
    write_ark(path, feats.items())
    assert sums_path(path).read_bytes() == sums


def test_a_pipe_has_no_checksums(tmp_path):
    path, read = tmp_path / "pipe", []
    os.mkfifo(path)
    thread = threading.Thread(target=lambda: read.append(path.read_bytes()), daemon=True)
    thread.start()
    write(path, b"abc")
    thread.join(5)
    assert read == [b"abc"]
    assert path.is_fifo() and [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_nothing_appears_when_writing_fails(tmp_path):
    write(tmp_path / "x.ark", b"before")
    with pytest.raises(RuntimeError), checked_open(tmp_path / "x.ark") as stream:
        stream.write(b"after")
        raise RuntimeError
    with open_checked(tmp_path / "x.ark") as stream:
        assert stream.read() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.ark", "x.ark.crc32"]

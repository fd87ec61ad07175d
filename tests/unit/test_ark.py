"""Archives: golden bytes, round trips, agreement with kaldiio, and damage that must be told, not crash."""

import io
import tracemalloc
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from speechrep.errors import InputError
from speechrep.frontend.cmvn import normalise, statistics
from speechrep.io import compression
from speechrep.io.ark import (
    ArkWriter,
    iter_ark,
    load_scp,
    matrix_shape,
    parse_spec,
    read_matrix,
    write_ark,
)
from speechrep.io.kaldi_object import Source, read_object, read_shape
from speechrep.io.specifier import read_entries

FM = "75 31 20 00 42 46 4d 20 04 02000000 04 03000000 00000000 0000803f 00000040 00008040 0000a040 0000c040"
IV = "75 31 20 00 42 04 03000000 04 01000000 04 02000000 04 2c010000"
CM2 = "75 31 20 00 42 43 4d 32 20 00000000 0000a040 02000000 02000000 0000 3333 cccc ffff"
CM3 = "75 31 20 00 42 43 4d 33 20 00000000 0000a040 02000000 02000000 00 33 cc ff"


def written(value: np.ndarray, method: int = 0, text: bool = False) -> bytes:
    stream = io.BytesIO()
    ArkWriter(stream, method, text).write("u1", value)
    return stream.getvalue()


def entries(data: bytes) -> list[tuple[str, np.ndarray]]:
    return list(iter_ark(Source(io.BytesIO(data), "test.ark")))


@pytest.mark.parametrize(
    ("golden", "value", "method"),
    [
        (FM, np.array([[0, 1, 2], [4, 5, 6]], np.float32), 0),
        (IV, np.array([1, 2, 300], np.int32), 0),
        (CM2, np.array([[0, 1], [4, 5]], np.float32), 3),
        (CM3, np.array([[0, 1], [4, 5]], np.float32), 5),
    ],
)
def test_golden_bytes(golden: str, value: np.ndarray, method: int):
    data = bytes.fromhex(golden)
    assert written(value, method) == data
    [(key, read)] = entries(data)
    assert key == "u1"
    np.testing.assert_allclose(read, value, atol=1e-4)


BUFFER_BYTES = 8192


def test_entries_lie_anywhere_in_a_buffer(tmp_path: Path):
    """Objects that begin at every place relative to the blocks in which a file is read."""
    path, values = tmp_path / "a.ark", {f"key{n:03d}": np.full((1, 3), n, np.float64) for n in range(220)}
    for shift in range(60):  # an entry is shorter than that, so one begins at the very end of a block
        first = {"k" * (shift + 1): np.zeros((1, 3))}
        stream = io.BytesIO()
        writer = ArkWriter(stream)
        for key, value in (first | values).items():
            writer.write(key, value)
        path.write_bytes(stream.getvalue())
        assert path.stat().st_size > BUFFER_BYTES
        with io.BufferedReader(io.FileIO(path), BUFFER_BYTES) as buffered:
            read = dict(iter_ark(Source(buffered, "a.ark")))
        assert list(read) == [*first, *values]
        assert all(np.array_equal(read[key], value) for key, value in values.items())
    text = io.BytesIO()
    writer = ArkWriter(text, text=True)
    for n in range(3000):
        writer.write(f"{'k' * (n % 7)}{n:04d}", np.arange(n % 5 + 1, dtype=np.int32))
    assert [len(value) for _, value in entries(text.getvalue())] == [n % 5 + 1 for n in range(3000)]


def test_offsets_point_at_the_binary_mark(tmp_path: Path):
    write_ark(tmp_path / "a.ark", [("u1", np.ones((2, 3), np.float32))], tmp_path / "a.scp")
    assert load_scp(tmp_path / "a.scp") == {"u1": f"{tmp_path / 'a.ark'}:3"}


@pytest.mark.parametrize("method", compression.METHODS[1:])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 8, 9, 57])
def test_compression_agrees_with_kaldiio(method: int, rows: int):
    matrix = np.random.default_rng(rows).normal(0, 4, (rows, 23)).astype(np.float32)
    if method in (6, 7):
        matrix = np.abs(matrix) / np.abs(matrix).max()
    theirs = io.BytesIO()
    kaldiio.matio.write_array(theirs, matrix, compression_method=method)
    encoded = compression.encode(matrix, method)
    ours, kept = encoded.head() + encoded.payload.tobytes(), encoded.decode()
    # kaldiio rounds a few values to the neighbouring step; more than one step is an error.
    step = (matrix.max() - matrix.min()) / (60 if ours.startswith(b"CM ") else 250) + 1e-6
    if method == 4:
        step = 1
    theirs.seek(0)
    np.testing.assert_allclose(kaldiio.matio.read_kaldi(theirs), kept, atol=step)
    # Both decode the same bytes to the same values.
    read = kaldiio.matio.read_kaldi(io.BytesIO(b"\0B" + ours))
    np.testing.assert_allclose(read, kept, atol=2e-6 * np.abs(matrix).max() + 1e-6)


@pytest.mark.parametrize("rows", [1, 12, 256, 257, 700])
@pytest.mark.parametrize("kind", [0, 2, 3, 5, "double", "text"])
def test_what_is_made_of_values_is_the_same_before_as_after(tmp_path: Path, kind: int | str, rows: int):
    """To the bit, whether it is done to the values or to what codes mean, of which there may be fewer."""
    feats = np.random.default_rng(rows).normal(5, [0.1, 3, 20] + [1] * 97, (rows, 100))
    data = feats if kind == "double" else feats.astype(np.float32)
    method = 0 if isinstance(kind, str) else kind
    (tmp_path / "x.ark").write_bytes(written(data, method, text=kind == "text"))
    stats, place, counts = statistics(feats), f"{tmp_path}/x.ark:3", []

    def mapping(values: np.ndarray) -> np.ndarray:
        counts.append(len(values))
        return normalise(values, stats[:, [*range(values.shape[1]), -1]], True)

    for span, ranges in (
        ((0, None), ""), ((1, 300), ""), ((0, None), f"[0:{rows - 1}]"),
        ((0, None), f"[0:{rows - 1},0:9]"), ((0, 5), "[:,0:99]"),
    ):  # fmt: skip
        found = read_matrix(place + ranges, *span, mapping=mapping)
        assert found.dtype == np.float32
        seen = len(counts)
        np.testing.assert_array_equal(found, mapping(read_matrix(place + ranges, *span)))
        assert seen == len(counts) - 1
    if rows > 256:
        assert (counts[0] == 256) == (kind == 2), "what codes mean, not each value"


def test_one_byte_compression_is_as_close_as_its_steps():
    matrix = np.random.default_rng(0).normal(10, 3, (1000, 80)).astype(np.float32)
    encoded = compression.encode(matrix, 2)
    kept = encoded.decode()
    assert len(encoded.payload) < matrix.nbytes / 3.8
    assert np.abs(kept - matrix).mean() < 0.02


def test_constant_matrix_survives_compression():
    for method in (2, 3, 5):
        kept = compression.encode(np.full((20, 4), -3.25, np.float32), method).decode()
        np.testing.assert_allclose(kept, -3.25, atol=2e-3)


finite = st.floats(-1e6, 1e6, width=32)


@settings(max_examples=60, deadline=None)
@given(
    matrix=hnp.arrays(
        np.float32, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12), elements=finite
    ),
    method=st.sampled_from([0, 1, 2, 3, 5]),
    text=st.booleans(),
)
def test_round_trip(matrix: np.ndarray, method: int, text: bool):
    [(_, read)] = entries(written(matrix, method, text) + b"u2 \0B\4\0\0\0\0")[:1]
    if text and len(matrix) == 1:
        read = read.reshape(1, -1)
    span = float(matrix.max()) - float(matrix.min()) if matrix.max() > matrix.min() else 1 + abs(matrix.max())
    tolerance = 0 if text or not method else span / 60 + 1e-5 * np.abs(matrix).max()
    assert read.shape == matrix.shape
    assert np.abs(read.astype(np.float64) - matrix).max() <= tolerance


@settings(max_examples=40, deadline=None)
@given(
    vector=hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32]), st.integers(0, 20), elements=st.integers(0, 9)
    ),
    text=st.booleans(),
)
def test_round_trip_of_vectors(vector: np.ndarray, text: bool):
    if text and vector.dtype.kind == "i" and not vector.size:
        return  # an integer vector of no elements has no text
    [(_, read)] = entries(written(vector, 0, text))
    np.testing.assert_array_equal(read.ravel(), vector)


@pytest.mark.parametrize("method", [0, 2, 3, 5])
def test_ranges_are_inclusive_and_slices_are_not(tmp_path: Path, method: int):
    matrix = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    write_ark(tmp_path / "a.ark", [("k", matrix), ("l", matrix + 1)], tmp_path / "a.scp", method)
    spec = load_scp(tmp_path / "a.scp")["l"]
    whole = read_matrix(spec)
    assert matrix_shape(spec) == (20, 6)
    np.testing.assert_array_equal(read_matrix(f"{spec}[0:1]"), whole[:2])
    np.testing.assert_array_equal(read_matrix(f"{spec}[2:4,1:2]"), whole[2:5, 1:3])
    np.testing.assert_array_equal(read_matrix(f"{spec}[:,0:3]"), whole[:, :4])
    np.testing.assert_array_equal(read_matrix(f"{spec}[]"), whole)
    np.testing.assert_array_equal(read_matrix(f"{spec}[15:22]"), whole[15:])  # up to 3 rows too many
    np.testing.assert_array_equal(read_matrix(spec, 5, 9), whole[5:9])
    np.testing.assert_array_equal(read_matrix(f"{spec}[5:14]", 2, 4), whole[7:9])
    with pytest.raises(InputError, match="beyond the end"):
        read_matrix(f"{spec}[15:23]")
    with pytest.raises(InputError, match="columns 4 to 6 of 6"):
        read_matrix(f"{spec}[0:1,4:6]")


@pytest.mark.parametrize(
    "spec", ["a:3[1:0]", "a.ark[1]", "a.ark[0:1,0:1,0:1]", ":5", "a:1[x:y]", "", "[0:1]"]
)
def test_bad_positions(spec: str):
    with pytest.raises(InputError, match="bad"):
        parse_spec(spec)


def test_kaldi_text_forms(tmp_path: Path):
    path = tmp_path / "t.ark"
    path.write_text("u1  [\n  1 2 3 \n  4 5 6 ]\nu2  [ 1 2 3 ]\nu3 1 2 3\nu4  [ ]\n")
    read = dict(read_entries(f"ark:{path}"))
    assert [value.shape for value in read.values()] == [(2, 3), (3,), (3,), (0, 0)]
    assert read["u3"].dtype == np.int32
    assert read_matrix(f"{path}:3").shape == (2, 3)
    assert read_matrix(f"{path}:{path.read_bytes().index(b'u2') + 3}").shape == (1, 3)


def test_text_that_kaldi_takes(tmp_path: Path):
    """Its archive readers skip blanks before a key, its matrices may break rows by ``;``."""
    path = tmp_path / "t.ark"
    path.write_text("\n \n u1 [ 1 2 ; 3 4 ]\n\nu2 [\n 1 2;3 4\n 5 6 ; ]\n\t\nu3 [ 1 2 ;]\n\n")
    read = dict(read_entries(f"ark:{path}"))
    assert {key: value.tolist() for key, value in read.items()} == {
        "u1": [[1, 2], [3, 4]], "u2": [[1, 2], [3, 4], [5, 6]], "u3": [[1, 2]],
    }  # fmt: skip
    with pytest.raises(InputError, match=r"t\.ark:3: no key"):
        path.write_text("\n\n u1\n")
        dict(read_entries(f"ark:{path}"))


def test_scp_lines_may_begin_with_a_blank(tmp_path: Path):
    write_ark(tmp_path / "a.ark", [("u1", np.ones((2, 3), np.float32))])
    (tmp_path / "a.scp").write_text(f" \tu1 {tmp_path}/a.ark:3\n")
    assert load_scp(tmp_path / "a.scp") == {"u1": f"{tmp_path}/a.ark:3"}
    (tmp_path / "a.scp").write_text(" \n")
    with pytest.raises(InputError, match="empty line"):
        load_scp(tmp_path / "a.scp")


@pytest.mark.parametrize("token", ["FM", "DM"])
@pytest.mark.parametrize("shape", [(2**31 - 1, 0), (0, 5)])
def test_rows_of_nothing_are_refused(token: str, shape: tuple[int, int]):
    """The file cannot contradict them, and as text they have no end."""
    sizes = b"".join(b"\4" + size.to_bytes(4, "little") for size in shape)
    data = b"\0B" + token.encode() + b" " + sizes
    for read in (read_object, read_shape):
        with pytest.raises(InputError, match=rf"test.ark:0: a {token} matrix of {shape[0]} x {shape[1]}"):
            read(Source(io.BytesIO(data), "test.ark"))


def test_kaldiio_reads_what_we_write(tmp_path: Path):
    matrix = np.random.default_rng(2).normal(size=(30, 5)).astype(np.float32)
    for method in (0, 2, 3, 5):
        write_ark(tmp_path / "a.ark", [("a", matrix), ("b", -matrix)], tmp_path / "a.scp", method)
        theirs = kaldiio.load_scp(str(tmp_path / "a.scp"))
        for key, spec in load_scp(tmp_path / "a.scp").items():
            np.testing.assert_allclose(theirs[key], read_matrix(spec), atol=1e-5)


def test_nan_cannot_be_compressed():
    with pytest.raises(InputError, match="NaN"):
        compression.encode(np.array([[np.nan, 1.0]], np.float32), 2)


GOOD = [
    written(np.arange(60, dtype=np.float32).reshape(20, 3), method, text)
    for method, text in ((0, False), (2, False), (3, False), (5, False), (0, True))
] + [written(np.arange(9, dtype=np.int32)), written(np.arange(9, dtype=np.float64))]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_told_and_takes_no_memory(data: st.DataObject):
    """Cut short, flipped bits, other bytes: an array, or an InputError with its place; no more memory."""
    good = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(good) - 1))
        kind = data.draw(st.sampled_from(["flip", "byte", "huge"]))
        if kind == "flip":
            good[place] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "byte":
            good[place] = data.draw(st.integers(0, 255))
        else:
            good[place : place + 4] = b"\xff\xff\xff\x7f"
    damaged = bytes(good[: data.draw(st.integers(0, len(good)))])
    tracemalloc.start()
    try:
        with np.errstate(all="ignore"):
            entries(damaged)
    except InputError as error:
        assert str(error).startswith("test.ark:")
        assert int(str(error).split(":")[1]) <= len(good)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1 << 20


def test_many_columns_of_few_rows_take_no_memory_for_what_their_codes_mean(tmp_path: Path):
    (tmp_path / "x.ark").write_bytes(written(np.ones((2, 100_000), np.float32), method=2))
    tracemalloc.start()
    try:
        read_matrix(f"{tmp_path}/x.ark:3", mapping=np.negative)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 12e6  # of 256 codes it would be 102 MB


def test_huge_claims_on_a_pipe_take_no_memory():
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    for token in (b"FM \4\xff\xff\xff\x7f\4\xff\xff\xff\x7f", b"CM2 " + b"\0" * 8 + b"\xff\xff\xff\x7f" * 2):
        source = Source(Pipe(b"\0B" + token), "-")
        with pytest.raises(InputError, match="0 are left"):
            read_object(source)


def test_missing_file_and_offset_beyond_the_end(tmp_path: Path):
    with pytest.raises(InputError, match=r"none\.ark: no such file"):
        read_matrix(str(tmp_path / "none.ark:5"))
    (tmp_path / "a.ark").write_bytes(bytes.fromhex(FM))
    with pytest.raises(InputError, match=r"a\.ark:999: there is no byte 999"):
        read_matrix(str(tmp_path / "a.ark:999"))
    with pytest.raises(InputError, match=r"a\.ark:0"):
        read_matrix(str(tmp_path / "a.ark:0"))


@settings(max_examples=100, deadline=None)
@given(line=st.binary(min_size=1, max_size=60))
def test_any_scp_line_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, line: bytes):
    path = tmp_path_factory.getbasetemp() / "fuzz.scp"
    path.write_bytes(line)
    try:
        table = load_scp(path)
    except InputError as error:
        assert "fuzz.scp" in str(error)
        return
    for spec in table.values():
        try:
            read_matrix(spec)
        except InputError as error:
            assert parse_spec(spec)[0] in str(error)

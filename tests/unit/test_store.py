"""The HDF5 store: what goes in comes out, and nothing half-written or foreign is taken."""

import errno
import json
import multiprocessing
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.hdf5 import require_sound_heaps
from speechrep.io.store import Store, StoreWriter


def make_meta(dim=3, dtype="float32"):
    return FeatureMeta("fbank", {"num_bins": dim}, dim, 10.0, 16000, dtype=dtype, upstream="apc",
                       weights_sha256="0" * 64, layers=(2,))  # fmt: skip


def write_store(path, utterances, dtype="float32"):
    first = next(iter(utterances.values()))
    num_layers = first.shape[1] if first.ndim == 3 else 0
    lengths = [len(u) for u in utterances.values()]
    with StoreWriter(
        path, make_meta(first.shape[-1], dtype), list(utterances), lengths, num_layers
    ) as writer:
        for utt_id in sorted(utterances, key=lambda u: -len(utterances[u])):
            writer.write(utt_id, utterances[utt_id])
    return path


@pytest.fixture
def utterances():
    rng = np.random.default_rng(0)
    return {f"spk-{i}": rng.standard_normal((4 + i, 3)).astype(np.float32) for i in range(5)}


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), num_layers=st.integers(0, 3),
       dim=st.integers(1, 4))  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_round_trip_is_exact(tmp_path_factory, lengths, num_layers, dim):
    rng = np.random.default_rng(0)
    tail = (num_layers, dim) if num_layers else (dim,)
    data = {f"u{i}": rng.standard_normal((n, *tail)).astype(np.float32) for i, n in enumerate(lengths)}
    store = Store(write_store(tmp_path_factory.mktemp("s") / "x.h5", data))
    assert store.utt_ids == list(data) and store.num_frames.tolist() == lengths
    assert store.num_layers == num_layers and store.meta.identity() == make_meta(dim).identity()
    for utt_id, feats in data.items():
        assert np.array_equal(store.read(utt_id), feats)
        assert np.array_equal(store.read(utt_id, 1, 4), feats[1:4])


def test_frames_larger_than_a_block_of_checksums(tmp_path):
    """Of all the layers of a large model one frame is a block; the frames are told apart all the same."""
    data = {"u": np.random.default_rng(0).standard_normal((3, 2, 2500)).astype(np.float32)}
    path = write_store(tmp_path / "x.h5", data)
    assert np.array_equal(Store(path).read("u", 1, 3), data["u"][1:])
    content = path.read_bytes()
    last = content.index(data["u"][2].tobytes())
    path.write_bytes(content[:last] + b"\1" + content[last + 1 :])
    assert np.array_equal(Store(path).read("u", 0, 2), data["u"][:2])
    with pytest.raises(InputError, match="u"):
        Store(path).read("u", 2, 3)


def test_a_damaged_heap_is_found_wherever_strings_may_be(tmp_path):
    path, damaged = tmp_path / "x.h5", b"GCOL\1\0\0\0" + (1 << 40).to_bytes(8, "little")
    path.write_bytes(bytes(64) + damaged + bytes(48))
    for skip in ((0, 0), (0, 64), (80, 128)):
        with pytest.raises(InputError, match=r"x\.h5: a damaged heap of strings at byte 64"):
            require_sound_heaps(path, skip)
    require_sound_heaps(path, (64, 80))  # frames may look like anything
    path.write_bytes(bytes(61) + damaged + bytes(51))
    require_sound_heaps(path)  # a heap begins at a multiple of 8


def test_plain_h5py_reads_it(tmp_path, utterances):
    with h5py.File(write_store(tmp_path / "x.h5", utterances)) as store:
        utt_ids = [name.decode() for name in store["utt_ids"][:]]
        i = utt_ids.index("spk-3")
        start, num_frames = store["start"][i], store["num_frames"][i]
        assert np.array_equal(store["feats"][start : start + num_frames], utterances["spk-3"])
        assert json.loads(store.attrs["meta"])["upstream"] == "apc"


def test_float16_halves_the_file_and_reads_as_float32(tmp_path, utterances):
    store = Store(write_store(tmp_path / "x.h5", utterances, "float16"))
    feats = store.read("spk-4")
    assert feats.dtype == np.float32
    assert np.array_equal(feats, utterances["spk-4"].astype(np.float16).astype(np.float32))


def test_float16_overflow_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"x\.h5: spk.*float16.*float32"):
        write_store(tmp_path / "x.h5", {"spk": np.full((2, 3), 1e6, np.float32)}, "float16")
    assert list(tmp_path.iterdir()) == []


def read_in_worker(store, utt_id, queue):
    queue.put(store.read(utt_id))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reads_in_other_processes(tmp_path, utterances, method):
    store = Store(write_store(tmp_path / "x.h5", utterances))
    store.read("spk-0")  # the parent's file is open already
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    workers = [context.Process(target=read_in_worker, args=(store, "spk-2", queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in workers:
        assert np.array_equal(queue.get(timeout=60), utterances["spk-2"])
    for worker in workers:
        worker.join()
    assert np.array_equal(pickle.loads(pickle.dumps(store)).read("spk-1"), utterances["spk-1"])


def test_nothing_appears_when_writing_fails(tmp_path, utterances):
    meta = make_meta()
    with pytest.raises(RuntimeError), StoreWriter(tmp_path / "x.h5", meta, ["a"], [2]) as writer:
        writer.write("a", np.zeros((2, 3)))
        raise RuntimeError
    never = pytest.raises(InputError, match=r"1 utterances never came, e\.g\. b")
    with never, StoreWriter(tmp_path / "x.h5", meta, ["a", "b"], [2, 2]) as writer:
        writer.write("a", np.zeros((2, 3)))
    assert list(tmp_path.iterdir()) == []


def test_refuses_bad_utterances(tmp_path):
    with StoreWriter(tmp_path / "x.h5", make_meta(), ["a"], [2]) as writer:
        with pytest.raises(InputError, match=r"x\.h5: a: shape \(3, 3\), want \(2, 3\)"):
            writer.write("a", np.zeros((3, 3)))
        with pytest.raises(InputError, match=r"x\.h5: a: NaN"):
            writer.write("a", np.full((2, 3), np.nan))
        writer.write("a", np.ones((2, 3)))
    for utt_ids, num_frames, message in [
        (["a"], [0], "a: no frames"),
        (["a", "a"], [1, 1], "twice"),
        ([], [], "no utterances"),
    ]:
        with pytest.raises(InputError, match=message):
            StoreWriter(tmp_path / "y.h5", make_meta(), utt_ids, num_frames)


def test_refuses_files_that_are_not_stores(tmp_path, utterances):
    path = write_store(tmp_path / "x.h5", utterances)
    whole = path.read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("not HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["spk-0"] = np.zeros((4, 3))
    with h5py.File(path, "a") as store:
        del store["start"]
    cases = {"cut.h5": "cut short", "text.h5": "not a readable HDF5", "other.h5": "not a feature store",
             "x.h5": "/start is missing", "absent.h5": "no such file"}  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(InputError, match=message) as caught:
            Store(tmp_path / name)
        assert name in str(caught.value)


def test_refuses_an_index_that_does_not_fit(tmp_path, utterances):
    path = write_store(tmp_path / "x.h5", utterances)
    with h5py.File(path, "a") as store:
        store["num_frames"][-1] += 1
    with pytest.raises(InputError, match="index does not fit"):
        Store(path)


def without_checks(path):
    """The store as versions before the checksums wrote it."""
    with h5py.File(path, "a") as store:
        del store["crc32"]
        del store.attrs["crc32"]
    return path


def test_stores_without_checksums_are_read(tmp_path, utterances):
    store = Store(without_checks(write_store(tmp_path / "x.h5", utterances)))
    for utt_id, feats in utterances.items():
        assert np.array_equal(store.read(utt_id, 1), feats[1:])


def read_all(path):
    store = Store(path)
    return store.meta, {utt_id: store.read(utt_id) for utt_id in store.utt_ids}


@pytest.mark.parametrize("first", range(5))
def test_no_changed_byte_goes_unnoticed(tmp_path, utterances, first):
    """Every 89th byte of a store is changed: the store is refused, or what is read of it is the same."""
    good = write_store(tmp_path / "good.h5", utterances).read_bytes()
    meta, feats = read_all(tmp_path / "good.h5")
    refused = 0
    for place in range(first * 17, len(good), 89):
        damaged = bytearray(good)
        damaged[place] ^= 1 << place % 8
        (tmp_path / "x.h5").write_bytes(damaged)
        try:
            meta_now, now = read_all(tmp_path / "x.h5")
        except InputError as error:
            assert "x.h5" in str(error)
            refused += 1
            continue
        assert meta_now == meta and list(now) == list(feats), f"byte {place}"
        assert all(np.array_equal(now[utt_id], feats[utt_id]) for utt_id in feats), f"byte {place}"
    assert refused > 3


@pytest.mark.parametrize("num_layers", [0, 3])
def test_a_changed_frame_is_told_wherever_reading_begins(tmp_path, num_layers):
    shape = (900, num_layers, 64) if num_layers else (900, 64)
    feats = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    path = write_store(tmp_path / "x.h5", {"a": feats, "b": feats[:7]})
    with h5py.File(path, "a") as store:
        store["feats"][700, ..., 0] += 1
        rows = int(store["crc32"].attrs["rows"])
    store = Store(path)
    block = 700 // rows * rows
    assert np.array_equal(store.read("b"), feats[:7])
    assert np.array_equal(store.read("a", 3, block), feats[3:block])  # the blocks before
    assert np.array_equal(store.read("a", block + rows), feats[block + rows :])  # and after
    assert store.read("a", 700, 700).shape == (0, *shape[1:])
    for start, stop in ((0, None), (700, 701), (block + rows - 1, None), (0, block + 1)):
        with pytest.raises(InputError, match=rf"x\.h5: damaged: frame {block} of a"):
            store.read("a", start, stop)


def test_tells_an_unknown_utterance_and_a_replaced_file(tmp_path, utterances):
    store = Store(write_store(tmp_path / "x.h5", utterances))
    with pytest.raises(InputError, match=r"x\.h5: no utterance nobody"):
        store.read("nobody")
    write_store(tmp_path / "x.h5", utterances)
    for _ in range(2):  # the second time too
        with pytest.raises(InputError, match="replaced while in use"):
            store.read("spk-0")
    store = Store(tmp_path / "x.h5")
    (tmp_path / "x.h5").unlink()
    with pytest.raises(InputError, match=r"x\.h5: no such file"):
        store.read("spk-0")


def test_reading_wants_no_lock(tmp_path, monkeypatch):
    """Which some file systems of clusters do not have."""
    write_store(tmp_path / "x.h5", {"u": np.ones((4, 3), np.float32)})
    opened = h5py.File

    def without_locks(path, mode, locking=None):
        if locking is not False:
            raise OSError(errno.ENOLCK, "Unable to synchronously open file (unable to lock file)")
        return opened(path, mode, locking=locking)

    with monkeypatch.context() as patched:
        patched.setattr(h5py, "File", without_locks)
        assert Store(tmp_path / "x.h5").read("u").shape == (4, 3)
    with h5py.File(tmp_path / "x.h5"):  # as a notebook may have it
        assert Store(tmp_path / "x.h5").read("u").shape == (4, 3)

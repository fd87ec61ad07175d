"""Layouts of a store of many short utterances: writing, opening, random reading, memory.

    PYTHONPATH=. python benchmarks/store.py [--utts 100000] [--frames 20] [--dim 64]

Rows: ours (one data set and an index, read by file offset), the same read by h5py, one data set per
utterance, a .npy file per utterance. CPU seconds and wall seconds, the page cache warm. Then the batches of
an epoch as a training loop gets them, from our store and from .npy files; and the greatest memory of a
process that dumps so many utterances, half and a tenth of them, and of one that reads the whole dump.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import torch

from speechrep.data.batches import BatchSampler, Segment
from speechrep.data.loader import Loader
from speechrep.data.padded import pad_arrays
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.store import Store, StoreWriter
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import build
from speechrep.upstream.surface import SurfaceConfig
from tests.peak_memory import measured

META = FeatureMeta("fbank", {}, 16, 10.0, 16000)


def main() -> None:
    """Run all rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utts", type=int, default=100000)
    parser.add_argument("--frames", type=int, default=20, help="mean length of an utterance")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--reads", type=int, default=100000, help="random reads of whole utterances")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 2 * args.frames, args.utts)
    utt_ids = [f"{i % 977:04d}-{i:07d}" for i in range(args.utts)]
    order = rng.integers(args.utts, size=args.reads)
    megabytes = lengths.sum() * args.dim * 4 / 1e6
    print(f"{args.utts} utterances, {lengths.sum()} frames of {args.dim} float32, {megabytes:.0f} MB\n")
    print("| layout | write s (CPU) | open s (CPU) | read us per utterance (CPU) | MB on disk | growth MB |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, (write, open_) in ROWS.items():
            path = Path(folder) / "x"
            wrote = timed(lambda: write(path, utt_ids, lengths, args.dim))  # noqa: B023
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            box: list[Callable[[int], np.ndarray]] = []
            opened = timed(lambda: box.append(open_(path, utt_ids)))  # noqa: B023
            read = timed(lambda: [box[0](i).sum() for i in order.tolist()])  # noqa: B023
            growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
            size = sum(p.stat().st_size for p in files) / 1e6
            each = [1e6 * value / args.reads for value in read]
            print(
                f"| {name} | {wrote[0]:.1f} ({wrote[1]:.1f}) | {opened[0]:.2f} ({opened[1]:.2f}) | "
                f"{each[0]:.1f} ({each[1]:.1f}) | {size:.0f} | {growth:.0f} |", flush=True,
            )  # fmt: skip
            for file in files:
                file.unlink()
        training_loop(Path(folder), utt_ids, lengths, args.dim)
        memory(Path(folder), args.utts, args.frames)


def training_loop(folder: Path, utt_ids: list[str], lengths: np.ndarray, dim: int) -> None:
    """An epoch of batches of some 8000 frames through the loader, without workers."""
    print("\n| an epoch of batches from | CPU s (wall) |\n|---|---|")
    write_ours(folder / "x.h5", utt_ids, lengths, dim)
    write_npy(folder / "npy", utt_ids, lengths, dim)
    read_npy = open_npy(folder / "npy", utt_ids)
    row = {utt_id: i for i, utt_id in enumerate(utt_ids)}
    store = Store(folder / "x.h5")
    for name, read in (("our store", store.read), (".npy files", lambda utt_id: read_npy(row[utt_id]))):
        sampler = BatchSampler(lengths, 8000, seed=0)
        loader = Loader(Utterances(utt_ids, read), sampler)
        wall, cpu = timed(lambda: [batch["feats"].sum() for batch in loader.epoch(0)])  # noqa: B023
        print(f"| {name} | {cpu:.2f} ({wall:.2f}) |", flush=True)


class Utterances:
    """Whole utterances, read one by one and padded to batches."""

    def __init__(self, utt_ids: list[str], read: Callable[[str], np.ndarray]):
        self.utt_ids, self.read = utt_ids, read

    def __getitem__(self, segment: Segment) -> np.ndarray:
        return self.read(self.utt_ids[segment.index])

    def collate(self, items: list[np.ndarray]) -> dict[str, torch.Tensor]:
        """A batch."""
        feats, feat_lens = pad_arrays(items)
        return {"feats": feats, "feat_lens": feat_lens}


def memory(folder: Path, utts: int, frames: int) -> None:
    """The greatest resident memory of processes that dump and read, each of its own."""
    print("\n| utterances | stored MB | dump, peak MB | read all, peak MB |\n|---|---|---|---|")
    save_model(folder / "exp", build("surface", SurfaceConfig(context=15), META))
    for count in (utts // 10, utts // 2, utts):
        feats, out = folder / "feats.h5", folder / "dump.h5"
        lengths = np.random.default_rng(0).integers(1, 2 * frames, count)
        utt_ids = [f"{i % 977:04d}-{i:07d}" for i in range(count)]
        write_ours(feats, utt_ids, lengths, META.dim)
        command = ["--upstream", str(folder / "exp"), "--feats-dir", str(feats), "--out", str(out)]
        code = f"from speechrep.bin.dump import main; main({command!r})"
        _, dumped = measured(code)
        _, read = measured(f"from speechrep.io.store import Store; s = Store({str(out)!r})\n"
                           "for utt_id in s.utt_ids: s.read(utt_id)")  # fmt: skip
        print(f"| {count} | {out.stat().st_size / 1e6:.0f} | {dumped} | {read} |", flush=True)
        out.unlink()


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def vectors(row: int, length: int, dim: int) -> np.ndarray:
    """Cheap content."""
    return np.full((length, dim), row % 97, np.float32)


def write_ours(path: Path, utt_ids: list[str], lengths: np.ndarray, dim: int) -> None:
    """Our store."""
    meta = FeatureMeta("fbank", {}, dim, 10.0, 16000)
    with StoreWriter(path, meta, utt_ids, lengths.tolist()) as writer:
        for i, (utt_id, length) in enumerate(zip(utt_ids, lengths.tolist(), strict=True)):
            writer.write(utt_id, vectors(i, length, dim))


def open_ours(path: Path, utt_ids: list[str]) -> Callable[[int], np.ndarray]:
    """Our reader."""
    store = Store(path)
    return lambda i: store.read(utt_ids[i])


def open_ours_by_h5py(path: Path, utt_ids: list[str]) -> Callable[[int], np.ndarray]:
    """Our store through plain h5py."""
    file = h5py.File(path)
    feats, start, num_frames = file["feats"], file["start"][:], file["num_frames"][:]
    return lambda i: feats[start[i] : start[i] + num_frames[i]]


def write_per_utt(path: Path, utt_ids: list[str], lengths: np.ndarray, dim: int) -> None:
    """A data set per utterance, as ESPnet has it."""
    with h5py.File(path, "w") as file:
        for i, (utt_id, length) in enumerate(zip(utt_ids, lengths.tolist(), strict=True)):
            file.create_dataset(utt_id, data=vectors(i, length, dim))


def open_per_utt(path: Path, utt_ids: list[str]) -> Callable[[int], np.ndarray]:
    """Its reader."""
    file = h5py.File(path)
    return lambda i: file[utt_ids[i]][:]


def write_npy(path: Path, utt_ids: list[str], lengths: np.ndarray, dim: int) -> None:
    """A .npy file per utterance, 1000 to a folder."""
    for i, (utt_id, length) in enumerate(zip(utt_ids, lengths.tolist(), strict=True)):
        folder = path / utt_id[:4]
        if i < 977:
            folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{utt_id}.npy", vectors(i, length, dim))


def open_npy(path: Path, utt_ids: list[str]) -> Callable[[int], np.ndarray]:
    """Its reader."""
    return lambda i: np.load(path / utt_ids[i][:4] / f"{utt_ids[i]}.npy")


ROWS = {
    "ours": (write_ours, open_ours),
    "ours, read by h5py": (write_ours, open_ours_by_h5py),
    "HDF5, a data set per utterance": (write_per_utt, open_per_utt),
    ".npy per utterance": (write_npy, open_npy),
}

if __name__ == "__main__":
    main()

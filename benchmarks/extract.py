"""What dumping costs beside the model itself: the bare batched forward pass, one by one, and dump.

    PYTHONPATH=. python benchmarks/extract.py [--utts 24] [--data DIR] [--layers all]

Mockingjay BASE with random weights on mel spectrograms of real speech (noise without it); CPU seconds, one
thread, each row once per round and the best kept.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch

from speechrep.data.batches import BatchSampler
from speechrep.frontend.mel import Mel, MelConfig
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.store import Store, StoreWriter
from speechrep.upstream.dumping import Dump, DumpConfig
from speechrep.upstream.registry import CONFIGS, build

REAL = Path(__file__).parents[2] / "shared/data/librispeech-real"


def main() -> None:
    """Run the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL)
    parser.add_argument("--utts", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--layers", default="all")
    parser.add_argument("--max-frames", type=int, default=8000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        reader = features(Path(folder) / "feats.h5", args.data, args.utts)
        model = build("mockingjay", CONFIGS["mockingjay"](), reader.meta).eval()
        rows: dict[str, Callable[[], object]] = {
            "bare forward, batched by length": lambda: bare(model, reader, args.max_frames),
            "bare forward, one by one": lambda: bare(model, reader, 1),
            f"dump --layers {args.layers}": lambda: dump(model, reader, Path(folder) / "x.h5", args),
        }
        best = dict.fromkeys(rows, float("inf"))
        for _ in range(args.rounds):
            for name, work in rows.items():
                start = time.process_time()
                work()
                best[name] = min(best[name], time.process_time() - start)
    frames, first = int(reader.num_frames.sum()), next(iter(best.values()))
    print(f"{len(reader.utt_ids)} utterances, {frames} frames of {reader.meta.dim}\n")
    print("| row | CPU s | frames per CPU s | times the first |\n|---|---|---|---|")
    for name, seconds in best.items():
        print(f"| {name} | {seconds:.2f} | {frames / seconds:.0f} | {seconds / first:.2f} |")


def features(path: Path, data: Path, utts: int) -> Store:
    """Mel spectrograms of the first utterances."""
    files = sorted(data.glob("**/*.flac"))[:utts]
    rng = np.random.default_rng(0)
    audio = {file.stem: soundfile.read(file, dtype="float32")[0] for file in files} or {
        f"noise-{i}": rng.standard_normal(16000 * 12).astype(np.float32) for i in range(utts)
    }
    frontend = Mel(MelConfig())
    feats = {utt_id: frontend(samples, 16000) for utt_id, samples in audio.items()}
    meta = FeatureMeta("mel", {}, frontend.dim, frontend.frame_shift_ms, 16000)
    with StoreWriter(path, meta, list(feats), [len(frames) for frames in feats.values()]) as writer:
        for utt_id, frames in feats.items():
            writer.write(utt_id, frames)
    return Store(path)


@torch.inference_mode()
def bare(model: torch.nn.Module, reader: Store, max_frames: int) -> None:
    """The forward pass alone, features in memory already padded."""
    sampler = BatchSampler(reader.num_frames, max_frames, seed=0, shuffle=False)
    for batch in sampler.batches(0):
        lens = torch.tensor([segment.num_frames for segment in batch])
        feats = torch.zeros(len(batch), int(lens.max()), reader.meta.dim)
        for row, segment in zip(feats, batch, strict=True):
            row[: segment.num_frames] = torch.from_numpy(reader.read(reader.utt_ids[segment.index]))
        model(feats, lens)


def dump(model: torch.nn.Module, reader: Store, path: Path, args: argparse.Namespace) -> None:
    """All of dumping."""
    config = DumpConfig(layers=args.layers, max_frames=args.max_frames)
    work = Dump(model, reader, path, config)
    work.run(range(len(work.parts)), lambda done: None)
    work.finish()
    path.unlink()


if __name__ == "__main__":
    main()

"""How fast batches come, with nobody computing on them: what a GPU may ask of the processes that read.

    PYTHONPATH=. python benchmarks/loader.py

Batches of Mockingjay BASE on a GPU (64,000 frames of 160 values), from compressed archives of noise with the
lengths of real LibriSpeech utterances, normalised when read.
"""

import argparse
import tempfile
import time
from pathlib import Path

import torch
from pretrain import MAX_FRAMES, processor_seconds, write_utterances

from speechrep.data.batches import BatchSampler
from speechrep.data.features import open_features
from speechrep.data.loader import Loader
from speechrep.upstream.pretraining import FeatureSegments


def time_loader(feats: Path, num_workers: int, count: int) -> tuple[float, float, float]:
    """Seconds, processor seconds and frames of a batch; the loader is running already."""
    reader = open_features(feats)
    sampler = BatchSampler(reader.num_frames, MAX_FRAMES["cuda", "mockingjay"], seed=1)
    loader = Loader(FeatureSegments(reader), sampler, num_workers)
    batches = (batch for epoch in range(10**6) for batch in loader.epoch(epoch))
    for _ in range(4 * num_workers + 1):
        next(batches)
    start, processor, frames = time.perf_counter(), processor_seconds(), 0
    for _ in range(count):
        frames += int(next(batches)["feat_lens"].sum())
    spent = time.perf_counter() - start, processor_seconds() - processor
    batches.close()
    loader.close()
    return spent[0] / count, spent[1] / count, frames / count


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--num-workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--batches", type=int, default=150)
    parser.add_argument("--utterances", type=int, default=1000, help="of noise")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'workers':>8}{'ms':>8}{'CPU ms':>8}{'frames':>8}   a batch")
    with tempfile.TemporaryDirectory() as folder:
        feats = Path(folder) / "noise"
        write_utterances(feats, 160, options.utterances)
        for num_workers in options.num_workers:
            wall, processor, frames = time_loader(feats, num_workers, options.batches)
            print(f"{num_workers:>8}{1e3 * wall:>8.1f}{1e3 * processor:>8.1f}{frames:>8.0f}")


if __name__ == "__main__":
    main()

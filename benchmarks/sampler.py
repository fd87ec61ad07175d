"""The batch sampler over an index of many utterances: time and memory of start, epoch and resuming.

    PYTHONPATH=. python benchmarks/sampler.py [--utts 50000000] [--limit-gib 8]

Each row is a process of its own whose address space is limited, so that more memory than told is an error.
"""

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

from speechrep.data.batches import Batches, BatchSampler

ROWS = {  # name: crop-frames, the share of the epoch that is left out at the start
    "an epoch": (0, 0.0),
    "resumed in the middle, of rank 3 of 8": (0, 0.5),
    "an epoch of crops of 1,000 frames": (1000, 0.0),
}


def main() -> None:
    """Run the rows and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utts", type=int, default=50_000_000)
    parser.add_argument("--max-frames", type=int, default=55_000, help="budget of a batch")
    parser.add_argument("--limit-gib", type=float, default=8.0, help="address space of a process")
    parser.add_argument("--row", choices=ROWS, help="run this one here and print its numbers as JSON")
    args = parser.parse_args()
    if args.row:
        limit = int(args.limit_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        print(json.dumps(measure(args.utts, args.max_frames, *ROWS[args.row])))
        return
    print(
        f"{args.utts:,} utterances, batches of {args.max_frames:,} frames, at most {args.limit_gib:g} GiB\n"
    )
    print("| row | start s | order of the epoch s | first batch ms | us per batch | batches | peak GB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in ROWS:
        words = [sys.executable, __file__, *sys.argv[1:], "--row", name]
        found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
        print(
            f"| {name} | {found['start']:.1f} | {found['order']:.1f} | {found['first'] * 1e3:.1f} | "
            f"{found['batch'] * 1e6:.0f} | {found['batches']:,} | {found['peak_gb']:.1f} |",
            flush=True,
        )
    print("\nCPU seconds; the peak is of the whole process, the lengths themselves included.")


def measure(utts: int, max_frames: int, crop_frames: int, skip_share: float) -> dict[str, float]:
    """What one row tells."""
    rng = np.random.default_rng(0)
    lengths = rng.standard_normal(utts, np.float32)  # log-normal about 12 s, at 10 ms
    lengths *= np.float32(0.5)
    lengths += np.float32(7)
    np.exp(lengths, out=lengths)
    num_frames = np.clip(lengths, 50, 3500).astype(np.int64)
    del lengths
    where = {"rank": 3, "world_size": 8} if skip_share else {}
    begin = time.process_time()
    sampler = BatchSampler(num_frames, max_frames, 1, crop_frames=crop_frames, **where)
    started = time.process_time()
    batches: Batches = sampler.batches(1)
    ordered = time.process_time()
    rest = batches[round(skip_share * len(batches)) :]
    assert rest[0]
    first = time.process_time()
    some = rest[1:10_001]
    assert sum(map(bool, some))  # the last ones of a rank may be empty
    return {
        "start": started - begin, "order": ordered - started, "first": first - ordered,
        "batch": (time.process_time() - first) / len(some), "batches": len(batches),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
    }  # fmt: skip


if __name__ == "__main__":
    main()

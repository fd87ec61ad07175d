"""What opening a set of many utterances takes: memory and time per utterance of each index.

    PYTHONPATH=. python benchmarks/index.py [--utts 200000]

Each row is a process of its own; memory is what it grew by.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from speechrep.data import feature_dir
from speechrep.data.features import open_features
from speechrep.io.ark import ArkWriter
from speechrep.io.data_dir import DataDir
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.io.store import StoreWriter

META = FeatureMeta("fbank", {}, 4, 10.0, 16000)


def main() -> None:
    """Run the rows and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utts", type=int, default=200_000)
    parser.add_argument("--row", choices=ROWS, help="open this here and print its numbers as JSON")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure(ROWS[args.row], args.folder, args.utts)))
        return
    print(f"{args.utts:,} utterances\n\n| index | bytes per utterance | us CPU per utterance |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), args.utts)
        for row in ROWS:
            words = [sys.executable, __file__, *sys.argv[1:], "--row", row, "--folder", name]
            found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            print(f"| {row} | {found['bytes']:.0f} | {found['us']:.1f} |", flush=True)


def write(folder: Path, utts: int) -> None:
    """A data directory, a feature directory and a store, of one frame per utterance."""
    utt_ids = [f"{i // 1000:06d}-{i // 100:07d}-{i % 100:04d}" for i in range(utts)]
    for name in ("data", "feats"):
        (folder / name).mkdir()
    frame = np.zeros((1, 4), np.float32)
    with (folder / "feats/feats.1.ark").open("wb") as stream, (folder / "feats/feats.scp").open("w") as scp:
        writer = ArkWriter(stream)
        for utt_id in utt_ids:
            writer.write(utt_id, frame)
            scp.write(f"{utt_id} {folder}/feats/feats.1.ark:{writer.offset}\n")
    (folder / "feats/utt2num_frames").write_text("".join(f"{utt_id} 1\n" for utt_id in utt_ids))
    write_meta(folder / "feats/features.json", META)
    wavs = (f"{utt_id} /data/LibriSpeech/train-clean-100/{utt_id[:6]}/{utt_id}.flac\n" for utt_id in utt_ids)
    (folder / "data/wav.scp").write_text("".join(wavs))
    (folder / "data/utt2spk").write_text("".join(f"{utt_id} {utt_id[:14]}\n" for utt_id in utt_ids))
    with StoreWriter(folder / "x.h5", META, utt_ids, [1] * utts) as store:
        for utt_id in utt_ids:
            store.write(utt_id, frame)


def measure(open_it: Callable[[Path], object], folder: Path, utts: int) -> dict[str, float]:
    """Memory and time of one index."""
    before = resident()
    start = time.process_time()
    kept = open_it(folder)
    seconds = time.process_time() - start
    grown = resident() - before
    del kept
    return {"bytes": grown / utts, "us": seconds / utts * 1e6}


def resident() -> int:
    """Bytes of memory of this process; its peak is no measure, as it begins with the parent's."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _data_dir(folder: Path) -> object:
    data = DataDir(folder / "data")
    return data, data.wav_scp, data.utt2spk


def _big_feature_dir(folder: Path) -> object:
    feature_dir.BIG_BYTES = 0
    return open_features(folder / "feats")


ROWS: dict[str, Callable[[Path], object]] = {
    "data directory: wav.scp, utt2spk": _data_dir,
    "feature directory, in memory": lambda folder: open_features(folder / "feats"),
    "feature directory, on disk": _big_feature_dir,
    "store": lambda folder: open_features(folder / "x.h5"),
}


if __name__ == "__main__":
    main()

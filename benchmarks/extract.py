"""Extraction with Mockingjay BASE: dump against the bare forward pass and against the originals' manner.

    PYTHONPATH=. python benchmarks/extract.py [--utts 24] [--data DIR] [--layers all]

Random weights, mel spectrograms of real speech (noise without it), fp32 and bf16. The originals'
manner is written in plain_loops.py: utterance by utterance, each with its own position table built value by
value, attention as explicit matrices; all layers in memory. Our rows end with a store on disk. Each row runs
once per round, the best is kept; wall and CPU seconds, wall for a machine of one's own.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from plain_loops import PlainMockingjay, plain_extract

from speechrep.data.batches import BatchSampler
from speechrep.frontend.mel import Mel, MelConfig
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.store import Store, StoreWriter
from speechrep.upstream.dumping import Dump, DumpConfig
from speechrep.upstream.registry import CONFIGS, build

REAL = Path(__file__).parents[2] / "shared/data/librispeech-real"
PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Run the rows and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=REAL)
    parser.add_argument("--utts", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--layers", default="all")
    parser.add_argument(
        "--budgets", type=int, nargs="*", default=[1, 2000, 8000],
        help="frames of a batch for the bare rows; 1 is utterance by utterance",
    )  # fmt: skip
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        reader = features(Path(folder) / "feats.h5", args.data, args.utts)
        model = build("mockingjay", CONFIGS["mockingjay"](), reader.meta).eval()
        plain = PlainMockingjay(reader.meta.dim).eval()
        plain.take_weights(model)
        rows: dict[str, Callable[[], object]] = {"the originals' manner": lambda: originals(plain, reader)}
        for precision in PRECISIONS:
            for budget in args.budgets:
                name = (
                    f"bare forward, {precision}, {budget} frames"
                    if budget > 1
                    else f"bare, {precision}, one by one"
                )
                rows[name] = lambda p=precision, b=budget: bare(model, reader, p, b)
            rows[f"dump --layers {args.layers}, {precision}"] = lambda p=precision: dump(
                model, reader, Path(folder) / "x.h5", DumpConfig(layers=args.layers, precision=p)
            )
        best = {name: (float("inf"), float("inf")) for name in rows}
        for _ in range(args.rounds):
            for name, work in rows.items():
                wall, cpu = time.perf_counter(), time.process_time()
                work()
                seconds = (time.perf_counter() - wall, time.process_time() - cpu)
                best[name] = min(best[name], seconds, key=lambda pair: pair[1])
        apart = difference(model, plain, reader)
    frames, first = int(reader.num_frames.sum()), best["the originals' manner"]
    print(
        f"{len(reader.utt_ids)} utterances, {frames} frames of {reader.meta.dim}; "
        f"torch {torch.__version__}, {args.threads} thread(s), {platform.machine()}; "
        f"greatest difference, fp32: {apart:.1e}\n"
    )
    print("| row | wall s | CPU s | frames per CPU s | x wall | x CPU |\n|---|---|---|---|---|---|")
    for name, (wall, cpu) in best.items():
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {frames / cpu:.0f} | {first[0] / wall:.2f} | "
              f"{first[1] / cpu:.2f} |")  # fmt: skip
    for precision in PRECISIONS:
        bares = [cpu for name, (_, cpu) in best.items() if name.startswith("bare") and precision in name]
        dumped = best[f"dump --layers {args.layers}, {precision}"][1]
        if not bares:
            continue
        print(f"\nDump, {precision}: {dumped / min(bares):.2f} times the CPU seconds of the best bare row, "
              f"{dumped / max(bares):.2f} of the worst.")  # fmt: skip


def features(path: Path, data: Path, utts: int) -> Store:
    """Mel spectrograms of the first utterances."""
    files = sorted(data.glob("**/*.flac"))[:utts]
    rng = np.random.default_rng(0)
    audio = {file.stem: soundfile.read(file, dtype="float32")[0] for file in files} or {
        f"noise-{i}": rng.standard_normal(16000 * 12).astype(np.float32) for i in range(utts)
    }
    frontend = Mel(MelConfig(delta_order=1))
    feats = {utt_id: frontend(samples, 16000) for utt_id, samples in audio.items()}
    meta = FeatureMeta("mel", {}, frontend.dim, frontend.frame_shift_ms, 16000)
    with StoreWriter(path, meta, list(feats), [len(frames) for frames in feats.values()]) as writer:
        for utt_id, frames in feats.items():
            writer.write(utt_id, frames)
    return Store(path)


def originals(plain: PlainMockingjay, reader: Store) -> None:
    """Every utterance by itself."""
    for utt_id in reader.utt_ids:
        plain_extract(plain, reader.read(utt_id))


@torch.inference_mode()
def bare(model: torch.nn.Module, reader: Store, precision: str, max_frames: int) -> None:
    """The forward pass alone, batched by length."""
    sampler = BatchSampler(reader.num_frames, max_frames, seed=0, shuffle=False)
    for batch in sampler.batches(0):
        lens = torch.tensor([segment.num_frames for segment in batch])
        feats = torch.zeros(len(batch), int(lens.max()), reader.meta.dim)
        for row, segment in zip(feats, batch, strict=True):
            row[: segment.num_frames] = torch.from_numpy(reader.read(reader.utt_ids[segment.index]))
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            model(feats, lens)


def dump(model: torch.nn.Module, reader: Store, path: Path, config: DumpConfig) -> None:
    """All of dumping."""
    work = Dump(model, reader, path, config)
    work.run(range(len(work.parts)))
    work.finish()
    path.unlink()


@torch.inference_mode()
def difference(model: torch.nn.Module, plain: PlainMockingjay, reader: Store) -> float:
    """The greatest between our vectors and the originals' manner, of one utterance."""
    feats = reader.read(reader.utt_ids[0])
    ours = torch.cat(model(torch.from_numpy(feats)[None]).hiddens)
    return float((ours - plain_extract(plain, feats)).abs().max())


if __name__ == "__main__":
    main()

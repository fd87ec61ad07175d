"""Pre-training speed: ours against plain loops in the manner of the first implementations.

    PYTHONPATH=. python benchmarks/pretrain.py                # the GPU if there is one
    PYTHONPATH=. python benchmarks/pretrain.py --device cpu

Utterances are noise with the lengths of real LibriSpeech ones, read from compressed archives through the
loader; preparing the data is part of every step. CPU ratios are of processor seconds, those of the processes
that read counted, since wall time on a shared machine says little; GPU ratios of wall time. The plain APC on
a CPU may be stopped by --limit: then its speed is an upper bound and our ratio a lower one.
"""

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from plain_loops import PlainAdam, PlainApc, PlainMockingjay, plain_step

from speechrep.data.features import open_features
from speechrep.frontend.feature_dir import Piece, PieceWriter, merge
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import Trainer
from speechrep.upstream.apc import ApcConfig
from speechrep.upstream.mockingjay import MockingjayConfig
from speechrep.upstream.pretraining import PretrainData, Pretraining
from speechrep.upstream.registry import build

# Frames of 251 LibriSpeech train-clean-100 utterances, every 5 %.
QUANTILES = [163, 372, 524, 802, 983, 1128, 1224, 1282, 1331, 1375, 1408, 1421, 1441, 1459, 1481, 1504, 1530,
             1549, 1580, 1628, 1717]  # fmt: skip
MAX_FRAMES = {
    ("cpu", "apc"): 12_000, ("cpu", "mockingjay"): 4_500,
    ("cuda", "apc"): 64_000, ("cuda", "mockingjay"): 64_000,
}  # fmt: skip
PAPER_STEPS, PAPER_UTTS = 500_000, 6


def write_utterances(out_dir: Path, dim: int, count: int) -> None:
    """Features of ``count`` utterances of noise, as a recipe makes them: compressed, normalised when read."""
    rng = np.random.default_rng(0)
    lens = np.interp(rng.uniform(0, 1, count), np.linspace(0, 1, len(QUANTILES)), QUANTILES).astype(int)
    out_dir.mkdir()
    archive, stats = out_dir / "feats.1.ark", out_dir / "stats.ark"
    with PieceWriter(archive, stats, method=2) as writer:
        for number, length in enumerate(lens):
            writer.write(f"utt{number}", rng.standard_normal((length, dim), dtype=np.float32))
    merge(out_dir, [Piece(archive, stats, writer.utts)], "utterance", utt2spk=None)
    meta = FeatureMeta("noise", {}, dim, 10.0, 16000, cmvn="utterance", norm_vars=True)
    write_meta(out_dir / "features.json", meta)


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measured FLOP/s of a large matrix product; on a CPU, FLOP per processor second."""
    n = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    clock = _clock(device)
    best = 0.0
    for _ in range(6):
        start = clock()
        for _ in range(4):
            a @ b
        best = max(best, 4 * 2 * n**3 / (clock() - start))
    return best


def _clock(device: torch.device) -> Callable[[], float]:
    def synchronised() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronised if device.type == "cuda" else processor_seconds


def processor_seconds() -> float:
    """Those of this process and of its living children, which read data."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        words = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime
    return total


def flops_per_frame(name: str, dim: int, T: float) -> float:
    """Multiply-adds times 2 of forward and backward for one valid frame of an utterance of T frames.

    They are those of our loop, whose last Mockingjay layer and head run on the masked frames only.
    """
    if name == "apc":
        return 6 * (3 * 512 * (dim + 5 * 512) + 512 * dim)
    seen = 2 * 768**2  # keys and values
    seeing = 2 * 768**2 + 2 * 768 * 3072 + 2 * T * 768  # queries, output, feed-forward, scores and mixing
    return 6 * (dim * 768 + 3 * seen + 2 * seeing + 0.15 * (seeing + 768**2 + 768 * dim))


def time_ours(
    name: str, feats: Path, device: torch.device, options: argparse.Namespace, precision: str, dropout: float,
    compiled: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Frames per second, share of time waiting for data, seconds per step."""
    reader = open_features(feats)
    config = ApcConfig() if name == "apc" else MockingjayConfig(attention_dropout=dropout)
    torch.manual_seed(0)
    data = PretrainData(max_frames=options.max_frames or MAX_FRAMES[device.type, name])
    task = Pretraining(
        build(name, config, reader.meta), reader, reader, data, 1,
        num_workers=options.num_workers, pin_memory=device.type == "cuda",
    )  # fmt: skip
    train = TrainConfig(max_steps=10**6, precision=precision, compile=compiled)
    clock = _clock(device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(task, train, folder, device)
        batches = (b for epoch in range(10**6) for b in trainer._timed(trainer.loader.epoch(epoch)))

        def step() -> int:
            batch = next(batches)
            trainer._step([batch])
            trainer.progress.step += 1
            return int(batch["feat_lens"].sum())

        for _ in range(options.warm_up):
            step()
        trainer.data_wait, start, wall = 0.0, clock(), time.perf_counter()
        frames = sum(step() for _ in range(options.steps))
        seconds, wall = clock() - start, time.perf_counter() - wall
        trainer.log.close()
        batches.close()
    waited = trainer.data_wait / wall
    return {
        "frames_per_s": frames / seconds,
        "waiting": waited,
        "step_s": wall / options.steps,
        "frames": frames / options.steps,
    }


def time_plain(name: str, feats: Path, device: torch.device, options: argparse.Namespace) -> dict[str, float]:
    """The same of the plain loop; its data is in memory."""
    reader = open_features(feats)
    order = np.argsort(-reader.num_frames, kind="stable")
    size = options.plain_apc_utts if name == "apc" else 3  # six, halved above 400 frames
    model = (PlainApc if name == "apc" else PlainMockingjay)(reader.meta.dim).to(device)
    optimizer = PlainAdam(list(model.parameters()))
    clock = _clock(device)
    places = np.linspace(0, len(order) - size, options.plain_steps + 2).astype(int)[1:-1]  # all lengths
    batches = [order[i : i + size] for i in places]
    utts = [[reader.read(reader.utt_ids[i]) for i in batch] for batch in batches]
    if device.type == "cuda":
        plain_step(name, model, optimizer, utts[0])
    start = clock()
    for batch in utts:
        plain_step(name, model, optimizer, batch)
    seconds, frames = clock() - start, sum(len(utt) for batch in utts for utt in batch)
    return {"frames_per_s": frames / seconds, "step_s": seconds / options.plain_steps, "frames": frames}


def _plain_process(connection: Any, *arguments: Any) -> None:
    options = arguments[-1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(options.limit), int(options.limit)))
    torch.set_num_threads(options.threads)
    connection.send(time_plain(*arguments))


def time_plain_within_limit(
    name: str, feats: Path, device: torch.device, options: argparse.Namespace
) -> tuple[dict[str, float], bool]:
    """The plain loop in a process of its own, stopped by the system at the limit; True if it was."""
    if device.type == "cuda":
        return time_plain(name, feats, device, options), False
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_plain_process, args=(theirs, name, feats, device, options))
    process.start()
    theirs.close()
    try:
        return ours.recv(), False
    except EOFError:  # the system stopped it
        frames = (
            options.plain_apc_utts * QUANTILES[10]
        )  # at most: the batch of median length was not finished
        return {"frames_per_s": frames / options.limit, "step_s": options.limit, "frames": frames}, True
    finally:
        process.join()


def report(device: torch.device, options: argparse.Namespace) -> None:
    """Measure and print one device's table."""
    unit = "s" if device.type == "cuda" else "CPU s"
    rates = {p: matrix_rate(device, t) for p, t in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    where = (
        torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU thread(s)"
    )
    print(f"\n{where}, torch {torch.__version__}; matrix product {rates['fp32'] / 1e12:.3g} (fp32) and "
          f"{rates['bf16'] / 1e12:.3g} (bf16) TFLOP per {unit}")  # fmt: skip
    print(f"{'model':12}{'loop':45}{'frames/' + unit:>14}{'ratio':>8}{'of matrix rate':>16}"
          f"{'waiting':>9}{'s/step':>9}")  # fmt: skip
    eager = [("fp32", 0.1, False), ("fp32", 0.0, False), ("bf16", 0.1, False), ("bf16", 0.0, False)]
    variants = {"apc": [("fp32", 0.0, False)], "mockingjay": eager}
    if device.type == "cuda":
        variants["apc"] += [("bf16", 0.0, False)]
        variants["mockingjay"] += [("bf16", 0.1, True), ("bf16", 0.0, True)]
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            dim = 80 if name == "apc" else 160
            feats = Path(folder) / name
            write_utterances(feats, dim, options.utterances)
            plain, stopped = time_plain_within_limit(name, feats, device, options)
            sign = "<" if stopped else ""
            print(f"{name:12}{'plain, fp32':45}{sign + format(plain['frames_per_s'], '.0f'):>14}{1:>8.2f}"
                  f"{'':16}{'':9}{plain['step_s']:>9.3f}")  # fmt: skip
            for precision, dropout, compiled in variants[name]:
                ours = time_ours(name, feats, device, options, precision, dropout, compiled)
                lens = open_features(feats).num_frames
                mean_T = float((lens.astype(float) ** 2).sum() / lens.sum())  # of the utterance a frame is in
                rate = ours["frames_per_s"] * flops_per_frame(name, dim, mean_T) / rates[precision]
                label = f"ours, {precision}" + (f", attention dropout {dropout}" if name != "apc" else "")
                label += ", compiled" if compiled else ""
                ratio = (">" if stopped else "") + f"{ours['frames_per_s'] / plain['frames_per_s']:.2f}"
                print(f"{name:12}{label:45}{ours['frames_per_s']:>14.0f}{ratio:>8}{rate:>15.1%} "
                      f"{ours['waiting']:>8.1%}{ours['step_s']:>9.3f}")  # fmt: skip
                if name == "mockingjay" and device.type == "cuda" and precision == "bf16":
                    frames = PAPER_UTTS * float(lens.mean())
                    small = argparse.Namespace(
                        **vars(options) | {"max_frames": int(PAPER_UTTS * mean_T * 1.05)}
                    )
                    paper = time_ours(name, feats, device, small, precision, dropout, compiled)
                    days = PAPER_STEPS * paper["step_s"] / 86400
                    print(f"{'':12}{PAPER_STEPS} steps of about {paper['frames']:.0f} frames (the paper: "
                          f"{PAPER_UTTS} utterances, {frames:.0f}) take {days:.2f} days")  # fmt: skip


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    gpu = torch.cuda.is_available()
    parser.add_argument("--device", default="cuda" if gpu else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--models", nargs="+", default=["apc", "mockingjay"], choices=("apc", "mockingjay"))
    parser.add_argument("--threads", type=int, default=1 if gpu else 2, help="of PyTorch on the CPU")
    parser.add_argument("--num-workers", type=int, default=8 if gpu else 1, help="processes that read data")
    parser.add_argument("--max-frames", type=int, default=0, help="of a batch of ours; 0: MAX_FRAMES")
    parser.add_argument("--steps", type=int, default=100 if gpu else 4, help="of ours to time")
    parser.add_argument("--warm-up", type=int, default=20 if gpu else 1, help="of ours before that")
    parser.add_argument("--plain-steps", type=int, default=20 if gpu else 1)
    parser.add_argument("--plain-apc-utts", type=int, default=32 if gpu else 8, help="batch of the plain APC")
    parser.add_argument("--utterances", type=int, default=3000 if gpu else 100, help="of noise")
    parser.add_argument("--limit", type=float, default=300.0, help="CPU seconds for a plain loop")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.set_float32_matmul_precision("highest")
    if options.device == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(False)  # as the trainer does
    report(torch.device(options.device), options)


if __name__ == "__main__":
    main()

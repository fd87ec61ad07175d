"""Unit costs for docs/scaling.md that no other benchmark has: stages 0 to 5, on real speech.

    PYTHONPATH=. python benchmarks/unit_costs.py --corpus ../shared/data/librispeech-real/LibriSpeech
    PYTHONPATH=. python benchmarks/unit_costs.py --corpus ../shared/data/librispeech-phones/LibriSpeech \\
        --set test-other --alignments ../shared/data/librispeech-phones/alignments --upstreams ""

CPU seconds of one thread, bytes on disk, and the greatest memory of a process that sees so few utterances.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import torch

from speechrep.bin import (
    decode,
    dump,
    extract_feats,
    prepare_librispeech,
    pretrain,
    score,
    train_downstream,
)
from speechrep.data.features import open_features
from tests.peak_memory import measured


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder that holds SPEAKERS.TXT")
    parser.add_argument("--set", default="train-clean-100")
    parser.add_argument("--conf", type=Path, default=Path("egs/librispeech/conf"))
    parser.add_argument("--alignments", type=Path, help="of the set's phones: stages 4 and 5 too")
    parser.add_argument("--upstreams", default="apc mockingjay")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        data, feats = work / "data" / args.set.replace("-", "_"), work / "feats"
        prepare = ["--corpus", str(args.corpus), "--sets", args.set, "--out-dir", str(work / "data")]
        prepare += ["--alignments", str(args.alignments)] if args.alignments else []
        seconds = timed(prepare_librispeech.main, prepare)
        extract = ["--config", str(args.conf / "fbank80.yaml"), "--data-dir", str(data), "--nj", "1"]
        timed(extract_feats.main, [*extract, "--out-dir", str(feats)])
        reader = open_features(feats)
        utts, frames = len(reader.utt_ids), int(reader.num_frames.sum())
        flac = sum(path.stat().st_size for path in (args.corpus / args.set).rglob("*.flac"))
        print(f"{utts} utterances, {frames} frames\n\n| what | unit | cost |\n| --- | --- | --- |")
        row("FLAC", "bytes per frame", flac / frames)
        row("stage 0, prepare_librispeech", "CPU ms per utterance", 1e3 * seconds / utts)
        row("stage 0, data directory", "bytes per utterance", size(data) / utts)
        row("stage 0, prepare_librispeech", "MB of memory", peak(prepare_librispeech, prepare))
        row(
            "stage 1, fbank80",
            "bytes per frame",
            size(feats, ".ark") / frames,
        )
        row("stage 1, tables", "bytes per utterance", (size(feats) - size(feats, ".ark")) / utts)
        for upstream in args.upstreams.split():
            exp, store = work / upstream, work / f"{upstream}.h5"
            words = ["--config", str(args.conf / f"{upstream}.yaml"), "--max-steps", "0"]
            words += ["--train-dir", str(feats), "--valid-dir", str(feats), "--exp-dir", str(exp)]
            start = time.process_time()
            pretrain.main(words)  # the untrained model validates once: a forward pass over all frames
            once = time.process_time() - start
            row(f"stage 2, {upstream}, validation", "frames per CPU s, at least", frames / once)
            words = ["--upstream", str(exp), "--feats-dir", str(feats), "--out", str(store)]
            seconds = timed(dump.main, words)
            row(f"stage 3, {upstream}", "frames per CPU s", frames / seconds)
            row(f"stage 3, {upstream}", "bytes per frame", store.stat().st_size / frames)
            row(f"stage 2, {upstream}, weights", "bytes", (exp / "model.safetensors").stat().st_size)
        if args.alignments:
            probe("phone", args, data, feats, frames, work)
            probe("speaker", args, data, feats, frames, work)


def probe(task: str, args: argparse.Namespace, data: Path, feats: Path, frames: int, work: Path) -> None:
    """Stages 4 and 5 on the features themselves; for speakers their utterances are divided into parts."""
    exp, hyps = work / task, work / f"decode_{task}"
    train = ["--task", task, "--config", str(args.conf / f"{task}.yaml"), "--exp-dir", str(exp)]
    for part in ("train", "valid"):
        train += [f"--{part}", str(feats), f"--{part}-data", str(data)]
        train += [f"--{part}-split", part] if task == "speaker" else []
    row(f"stage 4, {task} on fbank80", "frames per CPU s", frames / timed(train_downstream.main, train))
    row(f"stage 4, {task} on fbank80", "bytes", size(exp))
    words = ["--exp-dir", str(exp), "--data", str(feats), "--data-dir", str(data), "--out-dir", str(hyps)]
    words += ["--split", "test"] if task == "speaker" else []
    row(f"stage 5, decode, {task} on fbank80", "frames per CPU s", frames / timed(decode.main, words))
    row(f"stage 5, decode, {task}", "bytes per frame", size(hyps) / frames)
    row(f"stage 5, decode, {task}", "MB of memory", peak(decode, words))
    words = ["--task", task, "--upstream", "fbank", "--features", "fbank80", "--set", args.set]
    words += ["--exp-dir", str(exp), "--out", str(work / "results.json")]
    words += ["--ref", str(hyps / "ref"), "--hyp", str(hyps / "hyp")]
    row(f"stage 5, score, {task}", "frames per CPU s", frames / timed(score.main, words))


def timed(command: Callable[[Sequence[str]], None], words: list[str]) -> float:
    """CPU seconds of a command, in this process."""
    start = time.process_time()
    command(words)
    return time.process_time() - start


def peak(command: ModuleType, words: list[str]) -> float:
    """The greatest memory of a command, in a process of its own, MB."""
    code = f"import sys\nfrom {command.__name__} import main\nmain(sys.argv[1:])\n"
    return measured(code, *words)[1] * 2**20 / 1e6


def size(folder: Path, end: str = "") -> int:
    """Bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob(f"*{end}") if path.is_file())


def row(what: str, unit: str, cost: float) -> None:
    """A line of the table."""
    print(f"| {what} | {unit} | {cost:,.4g} |", flush=True)


if __name__ == "__main__":
    main()

"""Unit costs of stages 4 and 5 for docs/scaling.md: what grows with a set and what does not, on real speech.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/task_costs.py \\
        --corpus ../shared/data/librispeech-phones/LibriSpeech \\
        --alignments ../shared/data/librispeech-phones/alignments [--rows "phone speaker"]

The utterances of a small set are repeated under new ids, which takes no more than tables that name them. Each
command runs on two sizes, in processes of its own: CPU seconds and greatest memory tell what is taken at any
size, the start of Python included, and what each frame or utterance more takes.
"""

import argparse
import re
import resource
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from unit_costs import peak, size

from speechrep.bin import decode, extract_feats, prepare_librispeech, score, train_downstream, verify
from speechrep.io.table import read_rows, read_table, write_table
from speechrep.text.registry import save_tokenizer, train_tokenizer

SPEAKERS = 2000  # of repeated sets, as many as LibriSpeech's
SPLITS = ("--train-split", "train", "--valid-split", "valid")
VERIFIED = 6325  # utterances, all pairs of which are verified at most


class Repeated(NamedTuple):
    """A set made of another's utterances."""

    data: Path
    feats: Path
    utts: int
    frames: int


class Taken(NamedTuple):
    """By a command in a process of its own."""

    cpu_s: float
    memory: float  # bytes, at most at any time


class Bench:
    """A small set, and the larger ones made of it.

    Args:
        args: of the command.
        work: a folder to work in.
    """

    def __init__(self, args: argparse.Namespace, work: Path):
        self.conf, self.work = args.conf, work
        self.data, self.feats = work / "data" / args.set.replace("-", "_"), work / "feats"
        words = ["--corpus", str(args.corpus), "--sets", args.set, "--alignments", str(args.alignments)]
        prepare_librispeech.main([*words, "--out-dir", str(work / "data")])
        words = ["--config", str(args.conf / "fbank80.yaml"), "--data-dir", str(self.data), "--nj", "1"]
        extract_feats.main([*words, "--out-dir", str(self.feats)])
        self.aligned: dict[str, list[str]] = {}
        for _, utt_id, rest in read_rows(self.data / "phones.ctm"):
            self.aligned.setdefault(utt_id, []).append(rest)

    def repeat(
        self, utts: int, *, every: int = 1, speakers: int = SPEAKERS, frames: int | None = None,
        phones: bool = True,
    ) -> Repeated:  # fmt: skip
        """So many utterances.

        Args:
            utts: how many.
            every: of N utterances of the small set the first is repeated.
            speakers: utterances take turns to be theirs.
            frames: at most so many of an utterance, from a frame later in each copy; None: all.
            phones: whether with alignments.
        """
        out = self.work / f"{utts}_{every}_{speakers}_{frames}"
        data, feats = out / "data", out / "feats"
        names = ("feats.scp", "cmvn.scp", "utt2num_frames")
        tables = {feats / name: read_table(self.feats / name) for name in names}
        tables |= {data / "text": read_table(self.data / "text")}
        lengths = {utt_id: int(text) for utt_id, text in tables[feats / "utt2num_frames"].items()}
        known = list(lengths)[::every]
        ids = {f"{n:07d}": known[n % len(known)] for n in range(utts)}
        made = {path: {new: table[old] for new, old in ids.items()} for path, table in tables.items()}
        if frames:
            for n, (new, old) in enumerate(ids.items()):
                first = n // len(known) % 200
                last = min(first + frames, lengths[old]) - 1
                made[feats / "feats.scp"][new] += f"[{first}:{last}]"
                made[feats / "utt2num_frames"][new] = str(last - first + 1)
        made[data / "utt2spk"] = {new: f"{n % speakers:04d}-1" for n, new in enumerate(ids)}
        made[feats / "utt2spk"] = made[data / "utt2spk"]
        for path, table in made.items():
            write_table(path, table)
        if phones:
            with (data / "phones.ctm").open("w") as stream:
                for new, old in ids.items():
                    stream.writelines(f"{new} {rest}\n" for rest in self.aligned[old])
        shutil.copy(self.feats / "features.json", feats)
        return Repeated(data, feats, utts, sum(map(int, made[feats / "utt2num_frames"].values())))

    def train(self, task: str, train: Repeated, valid: Repeated, exp: Path, *more: str) -> list[str]:
        """Options of train_downstream."""
        words = ["--task", task, "--config", str(self.conf / f"{task}.yaml"), "--exp-dir", str(exp)]
        for name, part in (("train", train), ("valid", valid)):
            words += [f"--{name}", str(part.feats), f"--{name}-data", str(part.data)]
        return words + list(more)

    def decode(self, exp: Path, part: Repeated, *more: str) -> list[str]:
        """Options of decode."""
        words = ["--config", str(self.conf / "decode.yaml"), "--exp-dir", str(exp), "--data", str(part.feats)]
        return [*words, "--data-dir", str(part.data), "--out-dir", str(self.hyps(exp, part)), *more]

    def score(self, task: str, exp: Path, part: Repeated) -> list[str]:
        """Options of score."""
        hyps = self.hyps(exp, part)
        words = ["--task", task, "--upstream", "fbank", "--features", "fbank80", "--set", hyps.name]
        words += ["--exp-dir", str(exp), "--out", str(self.work / "results.json")]
        return [*words, "--ref", str(hyps / "ref"), "--hyp", str(hyps / "hyp")]

    def units(self) -> tuple[str, str]:
        """The option that gives the recogniser 1000 units, of the prose of docs/."""
        folder = self.work / "units"
        prose = "\n".join(path.read_text() for path in sorted(Path("docs").glob("*.md"))).upper()
        lines = [" ".join(re.findall("[A-Z']+", line)) for line in prose.splitlines()]
        save_tokenizer(folder, train_tokenizer("unigram", lines, 1000, "docs"))
        return "--tokenizer", str(folder)

    def hyps(self, exp: Path, part: Repeated) -> Path:
        """Where decode writes."""
        return exp / f"decode_{part.utts}"


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="folder that holds SPEAKERS.TXT")
    parser.add_argument("--set", default="test-other")
    parser.add_argument("--conf", type=Path, default=Path("egs/librispeech/conf"))
    parser.add_argument("--alignments", type=Path, required=True, help="of the set's phones")
    parser.add_argument("--rows", default=" ".join(ROWS))
    parser.add_argument("--scale", type=float, default=1, help="of all sizes; below 1 to try it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args, Path(name))
        print("| what | CPU s | MB of memory | for each | CPU us | bytes of memory |")
        print("| --- | --- | --- | --- | --- | --- |")
        for rows in args.rows.split():
            ROWS[rows](bench, lambda utts: max(50, round(utts * args.scale)))


def phone(bench: Bench, sized: Callable[[int], int]) -> None:
    """Sets of more frames than are held in memory, of every second, to solve the probe on."""
    parts, valid, exp = [bench.repeat(sized(utts)) for utts in (1500, 4500)], bench.repeat(50), bench.work
    grow("stage 4, phone", train_downstream, parts, "frame",
         lambda part: bench.train("phone", part, valid, exp / f"phone{part.utts}"))  # fmt: skip
    exp /= f"phone{parts[0].utts}"
    grow("stage 5, phone, decode", decode, parts, "frame", lambda part: bench.decode(exp, part))
    grow("stage 5, phone, score", score, parts, "frame", lambda part: bench.score("phone", exp, part))


def speaker(bench: Bench, sized: Callable[[int], int]) -> None:
    """Of so short utterances that what is told is not the reading of their frames."""
    parts, exp = [bench.repeat(sized(utts), frames=20) for utts in (25000, 50000)], bench.work
    grow(f"stage 4, {SPEAKERS} speakers", train_downstream, parts, "utterance",
         lambda part: bench.train("speaker", part, part, exp / f"speaker{part.utts}", *SPLITS))  # fmt: skip
    exp /= f"speaker{parts[0].utts}"
    print(f"| {size(exp)} bytes of disk | | | | | |", flush=True)
    grow("stage 5, speakers, decode a tenth", decode, parts, "utterance",
         lambda part: bench.decode(exp, part, "--split", "test"))  # fmt: skip
    grow("stage 5, speakers, score", score, parts, "utterance",
         lambda part: bench.score("speaker", exp, part))  # fmt: skip


def large(bench: Bench, sized: Callable[[int], int]) -> None:
    """Sets so large that most memory is what grows; of solving and training only the beginning."""
    few, valid, exp = bench.repeat(5), bench.repeat(50), bench.work
    parts = [bench.repeat(sized(utts)) for utts in (10000, 30000)]
    grow("stage 4, phone, 20,000 frames held", train_downstream, parts, "frame",
         lambda part: bench.train("phone", part, valid, exp / f"few{part.utts}",
                                  "--vectors-in-memory", "20000"))  # fmt: skip
    parts = [bench.repeat(sized(utts), frames=20) for utts in (60000, 120000)]
    grow(f"stage 4, {SPEAKERS} speakers, 2 iterations", train_downstream, parts, "utterance",
         lambda part: bench.train("speaker", part, part, exp / f"brief{part.utts}", *SPLITS,
                                  "--iterations", "2"))  # fmt: skip
    parts = [bench.repeat(sized(utts), phones=False) for utts in (200000, 400000)]
    words = ("--max-steps", "0", "--vocab-size", "300")  # the transcripts of the small set have no 1000 units
    grow("stage 4, recognition, before the first step", train_downstream, parts, "frame",
         lambda part: bench.train("asr", part, few, exp / f"asr{part.utts}", *words))  # fmt: skip


def asr(bench: Bench, sized: Callable[[int], int]) -> None:
    """An epoch of training the recogniser."""
    few, part, exp, units = bench.repeat(5), bench.repeat(sized(150)), bench.work / "asr", bench.units()
    none = taken(train_downstream, bench.train("asr", part, few, exp, *units, "--max-steps", "0"))
    shutil.rmtree(exp)
    words = (*units, "--max-steps", "-1", "--max-epochs", "1")
    one = taken(train_downstream, bench.train("asr", part, few, exp, *words))
    more = one.cpu_s - none.cpu_s
    tell("stage 4, recognition, an epoch", Taken(more, one.memory), "frame", Taken(more / part.frames, 0))
    weights, files = (exp / "model.safetensors").stat().st_size, [p for p in exp.rglob("*") if p.is_file()]
    print(f"| {weights} bytes of weights, {size(exp)} in {len(files)} files | | | | | |", flush=True)


def untrained(bench: Bench, sized: Callable[[int], int]) -> None:
    """Decoding with the recogniser as it is before training: the time of its encoder."""
    few, exp = bench.repeat(5), bench.work / "untrained"
    train_downstream.main(bench.train("asr", few, few, exp, *bench.units(), "--max-steps", "0"))
    search("recognition, untrained", bench, exp, [bench.repeat(sized(utts), every=4) for utts in (100, 200)])


def learned(bench: Bench, sized: Callable[[int], int]) -> None:
    """Decoding with a small recogniser that has learned 13 texts: what it finds is as long as speech is."""
    part, exp = bench.repeat(13, every=4), bench.work / "learned"
    model = "--num-layers 2 --hidden-size 160 --dropout 0 --time-masks 0 --freq-masks 0"
    steps = "--max-frames 4000 --lr 1e-2 --warmup-steps 50 --max-steps 500 --valid-interval 500"
    words = (*bench.units(), *model.split(), *steps.split())
    train_downstream.main(bench.train("asr", part, part, exp, *words))
    parts = [bench.repeat(sized(utts), every=4) for utts in (300, 1800)]
    search("recognition, small, learned", bench, exp, parts)
    found = {name: read_table(bench.hyps(exp, parts[1]) / name) for name in ("hyp", "ref")}
    parts = [bench.repeat(sized(utts), every=4) for utts in (5000, 25000)]
    for more in parts:
        for name, table in found.items():
            texts = {f"{n:07d}": table[f"{n % part.utts:07d}"] for n in range(more.utts)}
            write_table(bench.hyps(exp, more) / name, texts)
    grow("stage 5, recognition, score", score, parts, "frame", lambda part: bench.score("asr", exp, part))


def search(what: str, bench: Bench, exp: Path, parts: list[Repeated]) -> None:
    """Decoding with and without a search; the last as conf/decode.yaml has it."""
    for method in ("greedy", "ctc-beam"):
        grow(f"stage 5, {what}, {method}", decode, parts, "frame",
             lambda part: bench.decode(exp, part, "--method", method))  # fmt: skip  # noqa: B023
    hyps, frames = bench.hyps(exp, parts[1]), parts[1].frames
    print(f"| {size(hyps) / frames:.4g} bytes of disk per frame | | | | | |", flush=True)


def verification(bench: Bench, sized: Callable[[int], int]) -> None:
    """All pairs that are scored at most, of 40 speakers, all copies different."""
    part = bench.repeat(sized(VERIFIED), speakers=40, frames=10**6)
    out = bench.work / "results.json"
    out.unlink(missing_ok=True)
    words = ["--data", str(part.feats), "--data-dir", str(part.data), "--center-on", str(part.feats)]
    words += ["--upstream", "fbank", "--features", "fbank80", "--set", "repeated", "--out", str(out)]
    tell(f"stage 5, verification, {part.utts} utterances", taken(verify, words))
    print(f"| {out.stat().st_size} bytes of results | | | | | |", flush=True)


def taken(command: ModuleType, words: list[str]) -> Taken:
    """What a command takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    memory = 1e6 * peak(command, words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, memory)


def grow(
    what: str,
    command: ModuleType,
    parts: list[Repeated],
    unit: str,
    words: Callable[[Repeated], list[str]],
) -> None:
    """What a command takes at any size, and for each unit more."""
    small, large = (taken(command, words(part)) for part in parts)
    first, second = (part.frames if unit == "frame" else part.utts for part in parts)
    slope = Taken(*((b - a) / (second - first) for a, b in zip(small, large, strict=True)))
    tell(what, Taken(*(a - s * first for a, s in zip(small, slope, strict=True))), unit, slope)


def tell(what: str, constant: Taken, unit: str = "", slope: Taken | None = None) -> None:
    """A line of the table."""
    each = f"{1e6 * slope.cpu_s:.4g} | {slope.memory:.4g}" if slope else "|"
    print(f"| {what} | {constant.cpu_s:.4g} | {constant.memory / 1e6:.4g} | {unit} | {each} |", flush=True)


ROWS = {
    "phone": phone, "speaker": speaker, "large": large, "asr": asr, "untrained": untrained,
    "learned": learned, "verification": verification,
}  # fmt: skip

if __name__ == "__main__":
    main()

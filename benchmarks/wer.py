"""Scoring 20,000 utterances: ours against jiwer, and sclite's totals where it is installed.

python benchmarks/wer.py                    # made-up sentences
python benchmarks/wer.py --texts REF HYP    # a recogniser's outputs, Kaldi text
"""

import argparse
import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from speechrep.io.table import read_table
from speechrep.score.edit import count_errors
from speechrep.score.trn import write_trn


def make_pairs(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """References of about 19.5 words, half of them frequent ones, and hypotheses with 14 % errors."""
    generator = np.random.default_rng(seed)
    words = np.array([f"W{number}" for number in range(5000)])

    def draw(size: int) -> np.ndarray:
        frequent = generator.random(size) < 0.5
        return np.where(
            frequent, words[generator.integers(50, size=size)], words[generator.integers(5000, size=size)]
        )

    refs, hyps = [], []
    for length in np.maximum(1, generator.normal(19.5, 8, count).astype(int)):
        ref = draw(length).tolist()
        hyp: list[str] = []
        for word, kind, other in zip(ref, generator.random(length), draw(length).tolist(), strict=True):
            if kind < 0.08:
                hyp.append(other)
            elif kind < 0.11:
                continue
            elif kind < 0.14:
                hyp += [word, other]
            else:
                hyp.append(word)
        refs.append(ref)
        hyps.append(hyp)
    return refs, hyps


def read_pairs(ref: str, hyp: str) -> tuple[list[list[str]], list[list[str]]]:
    """The utterances of two Kaldi texts, in the order of the references."""
    ref_texts, hyp_texts = read_table(ref), read_table(hyp)
    return [text.split() for text in ref_texts.values()], [hyp_texts[key].split() for key in ref_texts]


def best_of(times: int, run: Callable[[], object]) -> tuple[float, object]:
    """Least CPU seconds of several runs, and the result."""
    seconds = []
    for _ in range(times):
        began = time.process_time()
        result = run()
        seconds.append(time.process_time() - began)
    return min(seconds), result


def sclite_errors(refs: list[list[str]], hyps: list[list[str]]) -> tuple[int, float]:
    """sclite's total of errors, and its wall seconds."""
    with tempfile.TemporaryDirectory() as folder:
        speakers = {f"u{number:06}": "s" for number in range(len(refs))}
        for name, texts in (("ref", refs), ("hyp", hyps)):
            write_trn(Path(folder) / f"{name}.trn", dict(zip(speakers, texts, strict=True)), speakers)
        command = ["sctk", "sclite", "-r", f"{folder}/ref.trn", "trn", "-h", f"{folder}/hyp.trn", "trn"]
        began = time.monotonic()
        report = subprocess.run(
            [*command, "-i", "rm", "-o", "rsum", "stdout"], capture_output=True, text=True, check=True
        )
        row = next(line for line in report.stdout.splitlines() if "| Sum " in line)
        return int(row.replace("|", " ").split()[7]), time.monotonic() - began


def main() -> None:
    """Measure and compare; exit 1 if ours is slower than jiwer or counts differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--texts", nargs=2, metavar=("REF", "HYP"), help="Kaldi texts with the same keys")
    args = parser.parse_args()
    import jiwer

    refs, hyps = read_pairs(*args.texts) if args.texts else make_pairs(args.utterances, args.seed)
    texts = [[" ".join(words) for words in side] for side in (refs, hyps)]
    # Both start from lines of text, as files hold them.
    ours, counts = best_of(3, lambda: count_errors(*([line.split() for line in side] for side in texts)))
    theirs, output = best_of(3, lambda: jiwer.process_words(*texts))
    ins, dels, subs = (int(value) for value in counts.sum(axis=0))
    total = output.insertions + output.deletions + output.substitutions
    print(f"{len(refs)} utterances, {sum(map(len, refs))} reference words")
    print("| scorer | CPU s | errors | S | I | D |\n|---|---|---|---|---|---|")
    print(f"| speechrep (Kaldi's split) | {ours:.2f} | {ins + dels + subs} | {subs} | {ins} | {dels} |")
    print(
        f"| jiwer {importlib.metadata.version('jiwer')} | {theirs:.2f} | {total} | "
        f"{output.substitutions} | {output.insertions} | {output.deletions} |"
    )
    failed = ours > theirs or total != ins + dels + subs
    if shutil.which("sctk"):
        errors, seconds = sclite_errors(refs, hyps)
        print(f"| sclite | {seconds:.2f} (wall) | {errors} | | | |")
        # sclite weighs substitutions 4 and gaps 3, so it may prefer an alignment with a few more errors.
        failed |= not 0 <= errors - total <= 1e-4 * total
    sys.exit(failed)


if __name__ == "__main__":
    main()

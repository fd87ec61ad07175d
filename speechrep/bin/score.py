"""Score what decode wrote and put the figures, with intervals over utterances, into results.json.

    python -m speechrep.bin.score --task phone --exp-dir exp/phone_apc --upstream apc --features fbank80 \\
        --ref exp/phone_apc/decode_test/ref --hyp exp/phone_apc/decode_test/hyp --set test --out results.json

Several references and as many hypotheses are the parts of a rotation: scored as one set.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.model_files import WEIGHTS, read_info
from speechrep.io.table import read_table
from speechrep.score import sentiment, wer
from speechrep.score.bootstrap import REPLICATIONS, ratio_interval
from speechrep.score.classification import Counts, count_correct
from speechrep.score.results import Figure, add_figures

Info = dict[str, Any]  # model.json
Table = dict[str, Any]  # utterance to its labels or words


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--task", required=True, choices=sorted(SCORERS), help="which task was decoded")
    parser.add_argument("--name", default="", help="what the table calls the task, if not by its name")
    parser.add_argument("--ref", required=True, metavar="FILE", nargs="+", help="references, Kaldi text")
    parser.add_argument("--hyp", required=True, metavar="FILE", nargs="+", help="hypotheses, the same format")
    parser.add_argument(
        "--baseline-hyp", default=[], metavar="FILE", nargs="+",
        help="of another representation: the difference in accuracy is scored too, utterances paired",
    )  # fmt: skip
    parser.add_argument("--baseline", default="baseline", metavar="NAME", help="its name, for the table")
    parser.add_argument("--upstream", required=True, metavar="NAME", help="representation, for the table")
    parser.add_argument("--features", required=True, metavar="NAME", help="acoustic features, for the table")
    parser.add_argument("--set", required=True, metavar="NAME", help="the decoded set, for the table")
    parser.add_argument("--exp-dir", required=True, metavar="DIR", help="the model that decoded")
    parser.add_argument("--seed", type=int, help="for the table; default: that the model was trained with")
    parser.add_argument("--bootstrap", type=int, default=REPLICATIONS, help="draws for the intervals")
    parser.add_argument("--out", required=True, metavar="FILE", help="results.json to add to")
    args = parser.parse_args(argv)
    if args.bootstrap < 10:
        raise InputError(f"want at least 10 draws, got {args.bootstrap}", where="--bootstrap")
    for name in ("hyp", "baseline_hyp"):
        paths = getattr(args, name)
        if paths and len(paths) != len(args.ref):
            raise InputError(
                f"{len(paths)} files, but --ref has {len(args.ref)}", where=f"--{name.replace('_', '-')}"
            )
    info = read_info(args.exp_dir)
    if info.get("task") != args.task:
        raise InputError(f"a model of task {info.get('task')!r}, not {args.task!r}", where=args.exp_dir)
    seed = info.get("train", {}).get("seed", 1) if args.seed is None else args.seed
    figures = SCORERS[args.task](args.ref, args.hyp, args.bootstrap, info)
    if args.baseline_hyp:
        if SCORERS[args.task] is not _accuracy:
            raise InputError(f"differences are of accuracies, {args.task} has none", where="--baseline-hyp")
        difference = _difference(args.ref, args.hyp, args.baseline_hyp, args.bootstrap)
        figures[f"accuracy - {args.baseline}"] = difference
    add_figures(
        args.out, figures, task=args.name or args.task, upstream=args.upstream, features=args.features,
        set_name=args.set, checkpoint=str(Path(args.exp_dir) / WEIGHTS), seed=seed,
    )  # fmt: skip


def _joined(paths: Sequence[str], read: Callable[[str], Table]) -> Table:
    """The tables of several files as one."""
    joined: Table = {}
    for path in paths:
        table = read(path)
        twice = sorted(table.keys() & joined.keys())
        if twice:
            raise InputError(f"utterance {twice[0]} is in an earlier file too", where=path)
        joined |= table
    return joined


def _counts(refs: Sequence[str], hyps: Sequence[str]) -> Counts:
    return count_correct(
        _joined(refs, read_table), _joined(hyps, read_table), ", ".join(refs), ", ".join(hyps)
    )


def _accuracy(refs: Sequence[str], hyps: Sequence[str], replications: int, info: Info) -> dict[str, Figure]:
    """Correct labels: of frames for phones, of utterances for speakers."""
    counts = _counts(refs, hyps)
    low, high = ratio_interval(counts.correct, counts.scored, replications=replications)
    figure = Figure(counts.accuracy, (100 * low, 100 * high), len(counts.scored), "higher")
    return {"accuracy": figure}


def _difference(refs: Sequence[str], hyps: Sequence[str], others: Sequence[str], replications: int) -> Figure:
    """Points of accuracy above the other hypotheses; each draw has the same utterances of both."""
    counts, other = _counts(refs, hyps), _counts(refs, others)
    gained = (counts.correct - other.correct).astype(np.float64)
    low, high = ratio_interval(gained, counts.scored, replications=replications)
    value = counts.accuracy - other.accuracy
    return Figure(value, (100 * low, 100 * high), len(counts.scored), "higher")


def _error_rates(
    refs: Sequence[str], hyps: Sequence[str], replications: int, info: Info
) -> dict[str, Figure]:
    ref_texts, hyp_texts = _joined(refs, wer.read_text), _joined(hyps, wer.read_text)
    figures = {}
    for metric, unit in (("wer", "word"), ("cer", "char")):
        scores = wer.score(ref_texts, hyp_texts, unit, where=", ".join(hyps))
        rates = wer.bootstrap([scores], replications, seed=0)
        figures[metric] = Figure(scores.rate, wer.interval(rates[0]), len(scores.utt_ids), "lower")
    return figures


def _sentiment(refs: Sequence[str], hyps: Sequence[str], replications: int, info: Info) -> dict[str, Figure]:
    joined = _joined(hyps, read_table), _joined(refs, read_table)
    preds, truths = sentiment.pair(*joined, ", ".join(hyps), ", ".join(refs))
    return sentiment.score(preds, truths, info["config"]["mode"], replications=replications)


SCORERS: dict[str, Callable[[Sequence[str], Sequence[str], int, Info], dict[str, Figure]]] = {
    "phone": _accuracy, "speaker": _accuracy, "asr": _error_rates, "sentiment": _sentiment,
}  # fmt: skip


if __name__ == "__main__":
    run(main)

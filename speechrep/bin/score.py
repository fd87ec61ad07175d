"""Score what decode wrote and put the figures, with intervals over utterances, into results.json.

python -m speechrep.bin.score --task phone --exp-dir exp/phone_apc --ref exp/phone_apc/decode_test/ref \\
    --hyp exp/phone_apc/decode_test/hyp --upstream apc --features fbank80 --set test --out exp/results.json
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechrep import provenance
from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.model_files import WEIGHTS, read_info
from speechrep.io.table import read_table
from speechrep.score import sentiment, wer
from speechrep.score.bootstrap import REPLICATIONS, ratio_interval
from speechrep.score.classification import count_correct
from speechrep.score.results import add_results

logger = logging.getLogger(__name__)
Info = dict[str, Any]  # model.json


class Figure(NamedTuple):
    """One measured figure."""

    value: float
    ci95: tuple[float, float]
    n: int  # utterances
    better: str


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--task", required=True, choices=sorted(SCORERS), help="which task was decoded")
    parser.add_argument("--ref", required=True, metavar="FILE", help="references, Kaldi text")
    parser.add_argument("--hyp", required=True, metavar="FILE", help="hypotheses, the same format")
    parser.add_argument("--upstream", required=True, metavar="NAME", help="representation, for the table")
    parser.add_argument("--features", required=True, metavar="NAME", help="acoustic features, for the table")
    parser.add_argument("--set", required=True, metavar="NAME", help="the decoded set, for the table")
    parser.add_argument("--exp-dir", required=True, metavar="DIR", help="the model that decoded")
    parser.add_argument(
        "--seed", type=int, default=1, help="the seed the model was trained with, for the table"
    )
    parser.add_argument("--bootstrap", type=int, default=REPLICATIONS, help="draws for the intervals")
    parser.add_argument("--out", required=True, metavar="FILE", help="results.json to add to")
    args = parser.parse_args(argv)
    if args.bootstrap < 10:
        raise InputError(f"want at least 10 draws, got {args.bootstrap}", where="--bootstrap")
    info = read_info(args.exp_dir)
    if info.get("task") != args.task:
        raise InputError(f"a model of task {info.get('task')!r}, not {args.task!r}", where=args.exp_dir)
    figures = SCORERS[args.task](args.ref, args.hyp, args.bootstrap, info)
    entries = []
    for metric, figure in figures.items():
        low, high = figure.ci95
        logger.info(
            "%s %s on %s: %s %.2f [%.2f, %.2f]",
            args.upstream, args.task, args.set, metric, figure.value, low, high,
        )  # fmt: skip
        entries.append(
            {
                "task": args.task,
                "upstream": args.upstream,
                "features": args.features,
                "set": args.set,
                "metric": metric,
                "value": figure.value,
                "ci95": [low, high],
                "n": figure.n,
                "better": figure.better,
                "checkpoint": str(Path(args.exp_dir) / WEIGHTS),
                "seed": args.seed,
                "commit": provenance.commit(),
                "created": provenance.now(),
            }
        )
    add_results(args.out, entries)


def _accuracy(ref: str, hyp: str, replications: int, info: Info) -> dict[str, Figure]:
    """Correct labels: of frames for phones, of utterances for speakers."""
    counts = count_correct(read_table(ref), read_table(hyp), ref, hyp)
    low, high = ratio_interval(counts.correct, counts.scored, replications=replications)
    figure = Figure(counts.accuracy, (100 * low, 100 * high), len(counts.scored), "higher")
    return {"accuracy": figure}


def _error_rates(ref: str, hyp: str, replications: int, info: Info) -> dict[str, Figure]:
    refs, hyps = wer.read_text(ref), wer.read_text(hyp)
    figures = {}
    for metric, unit in (("wer", "word"), ("cer", "char")):
        scores = wer.score(refs, hyps, unit, where=hyp)
        rates = wer.bootstrap([scores], replications, seed=0)
        figures[metric] = Figure(scores.rate, wer.interval(rates[0]), len(scores.utt_ids), "lower")
    return figures


def _sentiment(ref: str, hyp: str, replications: int, info: Info) -> dict[str, Figure]:
    preds, truths = sentiment.pair(read_table(hyp), read_table(ref), hyp, ref)
    found = sentiment.score(preds, truths, info["config"]["mode"], replications=replications)
    return {name: Figure(*figure, sentiment.BETTER[name]) for name, figure in found.items()}


SCORERS: dict[str, Callable[[str, str, int, Info], dict[str, Figure]]] = {
    "phone": _accuracy, "speaker": _accuracy, "asr": _error_rates, "sentiment": _sentiment,
}  # fmt: skip


if __name__ == "__main__":
    run(main)

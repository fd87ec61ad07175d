"""Score hypotheses against references as Kaldi does: error rates, intervals, comparison of two systems.

python -m speechrep.bin.score_wer data/dev_clean/text exp/asr/decode_dev_clean/hyp --bootstrap 1000
"""

import sys
from collections.abc import Sequence

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.files import write_json
from speechrep.score import wer

DEFAULT_REPLICATIONS = 1000  # for the interval in --json where --bootstrap does not say


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("ref", help="references, Kaldi text: 'utterance word word ...'")
    parser.add_argument("hyp", help="hypotheses, the same format")
    parser.add_argument("--unit", choices=wer.UNITS, default="word", help="what an error is counted in")
    parser.add_argument("--mode", choices=wer.MODES, default="strict", help="references without hypothesis")
    parser.add_argument("--bootstrap", type=int, default=0, metavar="N", help="print the interval of N draws")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--compare", metavar="HYP2", help="second system's hypotheses")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    args = parser.parse_args(argv)
    if args.bootstrap < 0:
        raise InputError(f"want 0 or more draws, got {args.bootstrap}", where="--bootstrap")
    replications = args.bootstrap or DEFAULT_REPLICATIONS

    refs = wer.read_text(args.ref)
    systems = [
        wer.score(refs, wer.read_text(path), args.unit, args.mode, path)
        for path in (args.hyp, args.compare) if path
    ]  # fmt: skip
    print(wer.kaldi_lines(systems[0]))
    if not (args.bootstrap or args.compare or args.json):
        return
    if args.compare and systems[0].utt_ids != systems[1].utt_ids:
        raise InputError(
            f"holds other utterances than {args.hyp}", where=args.compare, mend="use --mode strict or all"
        )
    rates = wer.bootstrap(systems, replications, args.seed)
    intervals = [wer.interval(system) for system in rates]
    if args.bootstrap or args.compare:
        for number, (system, (low, high)) in enumerate(zip(systems, intervals, strict=True), 1):
            print(f"Set{number}: %WER {system.rate:.2f} 95% Conf Interval [ {low:.2f}, {high:.2f} ]")
    values = wer.summary(systems[0], intervals[0])
    if args.compare:
        better = wer.probability_of_improvement(rates)
        print(f"Probability of Set2 improving Set1: {better:.2f}")
        values["compare"] = wer.summary(systems[1], intervals[1]) | {"probability_better": better}
    if args.json:
        write_json(args.json, values)
    sys.stdout.flush()


if __name__ == "__main__":
    run(main)

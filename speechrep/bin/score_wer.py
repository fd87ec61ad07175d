"""Score hypotheses against references as Kaldi does: error rates, intervals, comparison of two systems.

python -m speechrep.bin.score_wer data/dev_clean/text exp/asr/decode_dev_clean/hyp --bootstrap 1000
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.files import atomic_open, write_json
from speechrep.io.table import read_table
from speechrep.score import details, trn, wer
from speechrep.score.bootstrap import REPLICATIONS
from speechrep.score.edit import align
from speechrep.score.significance import mapsswe
from speechrep.text.char import SPACE


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("ref", help="references, Kaldi text: 'utterance word word ...'")
    parser.add_argument("hyp", help="hypotheses, the same format")
    parser.add_argument(
        "--unit", choices=wer.UNITS, default="word",
        help="what an error is counted in: word, char (with the blanks between words) or nonblank (without)",
    )  # fmt: skip
    parser.add_argument("--mode", choices=wer.MODES, default="strict", help="references without hypothesis")
    parser.add_argument("--bootstrap", type=int, default=0, metavar="N", help="print the interval of N draws")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    parser.add_argument("--compare", metavar="HYP2", help="a second system: interval and significance")
    parser.add_argument("--json", metavar="FILE", help="also write the numbers here")
    parser.add_argument("--details", metavar="DIR", help="write alignments, speakers and confusions here")
    parser.add_argument("--utt2spk", metavar="FILE", help="speakers, for per_spk and --trn")
    parser.add_argument("--trn", metavar="DIR", help="write ref.trn and hyp.trn for sclite here")
    args = parser.parse_args(argv)
    if args.bootstrap < 0:
        raise InputError(f"want 0 or more draws, got {args.bootstrap}", where="--bootstrap")
    if args.seed < 0:
        raise InputError(f"want 0 or more, got {args.seed}", where="--seed")
    if args.trn and not args.utt2spk:
        raise InputError("trn needs speakers", where="--trn", mend="give --utt2spk")

    refs = wer.read_text(args.ref)
    paths = [args.hyp, args.compare] if args.compare else [args.hyp]
    hyps = [wer.read_text(path) for path in paths]
    systems = [
        wer.score(refs, texts, args.unit, args.mode, path) for texts, path in zip(hyps, paths, strict=True)
    ]
    if args.compare and systems[0].utt_ids != systems[1].utt_ids:
        raise InputError(
            f"holds other utterances than {args.hyp}", where=args.compare, mend="use --mode strict or all"
        )
    lines = [wer.kaldi_lines(systems[0])]
    alignments = [
        _align(refs, texts, system.utt_ids, args.unit) if args.details or args.compare else {}
        for texts, system in zip(hyps, systems, strict=True)
    ]
    if args.bootstrap or args.compare or args.json:
        lines += _intervals(systems, alignments, args.bootstrap, args.seed, args.json)
    if args.details:
        _write_details(Path(args.details), alignments[0], args.utt2spk)
    if args.trn:
        speakers = read_table(args.utt2spk)
        for name, texts in (("ref", refs), ("hyp", hyps[0])):
            wanted = {utt_id: texts.get(utt_id, []) for utt_id in systems[0].utt_ids}
            trn.write_trn(Path(args.trn) / f"{name}.trn", wanted, speakers)
    print("\n".join(lines))  # after the files: a reader such as head may leave at any line


def _align(
    refs: dict[str, list[str]], hyps: dict[str, list[str]], utt_ids: list[str], unit: str
) -> dict[str, details.Pairs]:
    if unit != "word":
        refs, hyps = (
            {u: _characters(wer.characters(words, unit)) for u, words in texts.items()}
            for texts in (refs, hyps)
        )
    return {utt_id: align(refs[utt_id], hyps.get(utt_id, [])) for utt_id in utt_ids}


def _characters(text: str) -> list[str]:
    return [SPACE if character == " " else character for character in text]


def _intervals(
    systems: list[wer.Scores],
    alignments: list[dict[str, details.Pairs]],
    replications: int,
    seed: int,
    json: str | None,
) -> list[str]:
    """Interval and comparison, as lines to print; also writes ``json``."""
    lines = []
    # --json holds an interval also where --bootstrap does not say of how many draws.
    rates = wer.bootstrap(systems, replications or REPLICATIONS, seed)
    intervals = [wer.interval(system) for system in rates]
    if replications or len(systems) > 1:
        for number, (system, (low, high)) in enumerate(zip(systems, intervals, strict=True), 1):
            lines.append(f"Set{number}: %WER {system.rate:.2f} 95% Conf Interval [ {low:.2f}, {high:.2f} ]")
    values = wer.summary(systems[0], intervals[0])
    if len(systems) > 1:
        better = wer.probability_of_improvement(rates)
        test = mapsswe(*(list(pairs.values()) for pairs in alignments))
        lines.append(f"Probability of Set2 improving Set1: {better:.2f}")
        lines.append(f"MAPSSWE: {test.segments} segments, Z {test.z:.3f}, p {test.p:.4f} (two-tailed)")
        values["compare"] = wer.summary(systems[1], intervals[1]) | {
            "probability_better": better, "mapsswe_p": test.p,
            "mapsswe_z": test.z if np.isfinite(test.z) else None, "mapsswe_segments": test.segments,
        }  # fmt: skip
    if json:
        write_json(json, values)
    return lines


def _write_details(directory: Path, alignments: dict[str, details.Pairs], utt2spk: str | None) -> None:
    reports = {"per_utt": details.per_utterance(alignments), "ops": details.operations(alignments)}
    if utt2spk:
        reports["per_spk"] = details.per_speaker(alignments, read_table(utt2spk), utt2spk)
    for name, text in reports.items():
        with atomic_open(directory / name) as stream:
            stream.write(text)


if __name__ == "__main__":
    run(main)

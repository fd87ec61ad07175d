"""Print the table of results and write it for people.

    python -m speechrep.bin.report --results exp/demo/results.json --out exp/demo/RESULTS.md \\
        --html exp/demo/report.html
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from speechrep import provenance
from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.files import atomic_open
from speechrep.report.runs import info_of
from speechrep.report.table import Result, in_order, markdown, named, read_results, terminal

logger = logging.getLogger("report")


def main(argv: Sequence[str] | None = None) -> None:
    """Read results.json; print the table on stdout, and write what ``--out`` and ``--html`` name."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--results", required=True, nargs="+", help="results.json of an experiment; of several, one table"
    )
    parser.add_argument("--out", default="", help="RESULTS.md to write")
    parser.add_argument(
        "--html", default="", help="page to write, with everything to see; made from the results' folder"
    )
    parser.add_argument(
        "--reused", nargs="*", default=[], metavar="MODEL",
        help="for --html: upstreams of other experiments that were used",
    )  # fmt: skip
    parser.add_argument("--made-by", default="", help="the command line that made the results")
    parser.add_argument("--metrics", default="", help="only these, and their differences; empty: all")
    parser.add_argument("--seed", type=int, default=-1, help="only results of this seed; -1: of all")
    parser.add_argument("--features", default="", help="only results on these acoustic features; empty: all")
    parser.add_argument("--order", default="", help="tasks, upstreams and sets in the order of the table")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TASK/UPSTREAM/SET",
        help="leave other results out: what they were made with may have changed since",
    )  # fmt: skip
    args = parser.parse_args(argv)
    read = [result for path in args.results for result in read_results(path)]
    if args.metrics:
        read = [result for result in read if result.metric.partition(" - ")[0] in args.metrics.split()]
    # Those of others stand in a file that was copied from another experiment.
    read = [result for result in read if args.seed in (-1, result.seed)]
    read = [result for result in read if args.features in ("", result.features)]
    if args.only:  # those with a part of the labels are of report.html alone
        read = named(read, [name for name in args.only if "@" not in name])
    _refuse_twice(read)
    results = in_order(read, args.order.split())
    if not results:
        raise InputError(
            "holds no result", where=", ".join(args.results), mend="run stages 4 and 5 of the recipe"
        )
    about = {
        "date": max(result.created for result in results),
        "command": args.made_by or "not recorded",
        "commit": ", ".join(sorted({result.commit for result in results})),
        "seed": ", ".join(sorted({str(result.seed) for result in results})),
        "machine": _machines(results),
    }
    if args.out:
        code = {"command": f"`{args.made_by}`"} if args.made_by else {}
        with atomic_open(args.out) as stream:
            stream.write(markdown(results, about | code))
    sys.stdout.write(terminal(results))
    sys.stdout.flush()
    if args.html:
        from speechrep.report.html import report  # imports matplotlib and torch, which the table does without

        page = report(
            Path(args.results[0]).parent, results, about, args.order.split(), args.reused, args.only
        )
        with atomic_open(args.html) as stream:
            stream.write(page)
        logger.info("the same with pictures: %s", args.html)


def _machines(results: Sequence[Result]) -> str:
    """Where the models were trained; this machine where none tells."""
    told = {str(info_of(result.checkpoint).get("machine", "")) for result in results} - {""}
    return "; ".join(sorted(told)) or provenance.machine()


def _refuse_twice(results: Sequence[Result]) -> None:
    """Refuse two results of one seed in one cell: their mean would pass for that of two seeds."""
    seen: dict[tuple, Result] = {}
    for result in results:
        other = seen.setdefault((result.row, result.column, result.seed), result)
        if other is not result:
            raise InputError(
                f"two results of {result.name}, {result.metric}, seed {result.seed}",
                where=f"{other.checkpoint} and {result.checkpoint}",
                mend="train one with another --seed, or give only one of the files",
            )


if __name__ == "__main__":
    run(main)

"""Print the table of results and write it for people.

python -m speechrep.bin.report --results exp/demo/results.json --out exp/demo/RESULTS.md
"""

import sys
from collections.abc import Sequence

from speechrep import provenance
from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.files import atomic_open
from speechrep.report.table import in_order, markdown, read_results, terminal


def main(argv: Sequence[str] | None = None) -> None:
    """Read results.json; print the table on stdout, and write RESULTS.md if ``--out`` names it."""
    parser = make_parser(__doc__)
    parser.add_argument("--results", required=True, help="results.json of an experiment")
    parser.add_argument("--out", default="", help="RESULTS.md to write")
    parser.add_argument("--made-by", default="", help="the command line that made the results")
    parser.add_argument("--order", default="", help="tasks and upstreams in the order of the table")
    args = parser.parse_args(argv)
    results = in_order(read_results(args.results), args.order.split())
    if not results:
        raise InputError("holds no result", where=args.results, mend="run stages 4 and 5 of the recipe")
    if args.out:
        about = {
            "date": max(result.created for result in results),
            "command": f"`{args.made_by}`" if args.made_by else "not recorded",
            "commit": ", ".join(sorted({result.commit for result in results})),
            "seed": ", ".join(sorted({str(result.seed) for result in results})),
            "machine": provenance.machine(),
        }
        with atomic_open(args.out) as stream:
            stream.write(markdown(results, about))
    sys.stdout.write(terminal(results))


if __name__ == "__main__":
    run(main)

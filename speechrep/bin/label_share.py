"""Scores against the share of labelled training utterances, as tables and figures.

    python -m speechrep.bin.label_share --exp-dir exp/demo

Reads exp/demo/results.json, of all labels, and exp/demo/label_share/0.1.json and the like, of a part of them,
which the recipes' --label-shares makes. Writes label_share/RESULTS.md, and beside it a picture of the first
metric of each task and set.
"""

from collections.abc import Sequence
from pathlib import Path

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.files import atomic_open
from speechrep.report import label_share, style


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--exp-dir", required=True, metavar="DIR", help="an experiment with scores")
    parser.add_argument("--order", default="", help="representations and sets in the order of the tables")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TASK/UPSTREAM/SET", help="leave other results out"
    )
    args = parser.parse_args(argv)
    folder = Path(args.exp_dir, label_share.FOLDER)
    shares = label_share.read_shares(args.exp_dir, args.only)
    if not shares:
        raise InputError("no scores with a part of the labels", where=folder, mend="run with --label-shares")
    found = label_share.curves(shares, args.order.split())
    text = label_share.markdown(found)
    with atomic_open(folder / "RESULTS.md") as stream:
        stream.write(
            "# Scores against the share of labelled training utterances\n\n"
            f"±: the standard deviation over draws of the utterances; of all of them, over seeds.\n\n{text}"
        )
    for one in label_share.main_columns(found):
        task, set_name, metric = one.column
        style.save(label_share.draw(one), folder / style.file_name(f"{task}_{set_name}_{metric}.png"))
    print(text)


if __name__ == "__main__":
    run(main)

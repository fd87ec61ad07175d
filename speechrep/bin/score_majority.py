"""What saying always the same reaches in the sentiment task: a row of results.json to stand beside models.

    python -m speechrep.bin.score_majority --train-data data/train --data-dir data/test --features fbank80 \\
        --set test --out exp/demo/results.json

Per figure, the constant answer that is best on the training set is scored on the test set.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.io.table import read_table
from speechrep.score.results import add_figures
from speechrep.score.sentiment import majority, parse

NAME = "majority"  # stands in the place of an upstream


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--train-data", required=True, metavar="DIR", help="data directory that chooses")
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="data directory that is scored")
    parser.add_argument("--set", required=True, metavar="NAME", help="its name, for the table")
    parser.add_argument("--features", default="-", metavar="NAME", help="acoustic features, for the table")
    parser.add_argument("--seed", type=int, default=1, help="seed of the rows beside it, for the table")
    parser.add_argument("--out", required=True, metavar="FILE", help="results.json to add to")
    args = parser.parse_args(argv)
    chosen_on, scored = (Path(folder) / "utt2sentiment" for folder in (args.train_data, args.data_dir))
    train, test = (np.array(list(parse(read_table(path), path).values())) for path in (chosen_on, scored))
    add_figures(
        args.out, majority(train, test), task="sentiment", upstream=NAME, features=args.features,
        set_name=args.set, checkpoint=str(chosen_on), seed=args.seed,  # what the constant comes from
    )  # fmt: skip


if __name__ == "__main__":
    run(main)

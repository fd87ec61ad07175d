"""Decode a set with a trained downstream model: writes hyp and ref as Kaldi text.

python -m speechrep.bin.decode --exp-dir exp/phone_apc --data dump/apc/test.h5 --data-dir data/test \\
    --out-dir exp/phone_apc/decode_test
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import configargparse

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser
from speechrep.data.features import open_features
from speechrep.data.layers import choose_layer
from speechrep.downstream.base import Labelled
from speechrep.downstream.models import check_features, load_trained
from speechrep.downstream.registry import TASKS
from speechrep.io.model_files import read_info
from speechrep.train import distributed


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--exp-dir", required=True, metavar="DIR", help="what train_downstream wrote")
    parser.add_argument("--data", required=True, metavar="FEATS", help="the features that were trained on")
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="their data directory")
    parser.add_argument(
        "--split", default="", metavar="PART",
        help="train, valid or test: only that part of each speaker's utterances",
    )  # fmt: skip
    parser.add_argument("--out-dir", required=True, metavar="DIR", help="where hyp and ref go")
    parser.add_argument("--ngpu", type=int, default=0, help="1 to compute on a GPU")
    task = _task_of(parser, argv)
    add_options(parser, TASKS[task].decode_config, task)
    _accept_other_tasks(parser, task)
    args = parser.parse_args(argv)
    trained = load_trained(args.exp_dir, distributed.start(args.ngpu))
    feats = choose_layer(open_features(args.data), trained.info.get("layer", ""))
    data = Labelled(feats, Path(args.data_dir), args.split)
    check_features(trained, data)
    options = from_options(trained.kind.decode_config, args)
    trained.kind.decode(trained.model, data, Path(args.out_dir), options)


def _task_of(parser: configargparse.ArgParser, argv: Sequence[str] | None) -> str:
    """The task of the model that ``--exp-dir`` names; the first one where there is none, as for --help."""
    first = configargparse.ArgParser(add_help=False, allow_abbrev=False)
    first.add_argument("--exp-dir")
    exp_dir = first.parse_known_args(argv)[0].exp_dir
    task = read_info(exp_dir).get("task") if exp_dir else None
    return task if task in TASKS else next(iter(TASKS))


def _accept_other_tasks(parser: configargparse.ArgParser, task: str) -> None:
    """Take the other tasks' options without effect: one decode.yaml serves all tasks."""
    known = {action.dest for action in parser._actions} | {"help"}
    for kind in TASKS.values():
        for field in dataclasses.fields(kind.decode_config):
            if field.name not in known:
                known.add(field.name)
                parser.add_argument(f"--{field.name.replace('_', '-')}", help=configargparse.SUPPRESS)


if __name__ == "__main__":
    run(main)

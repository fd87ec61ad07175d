"""Train a downstream task on features or representations.

    python -m speechrep.bin.train_downstream --task phone --config conf/phone.yaml \\
        --train dump/apc/train.h5 --train-data data/train --valid dump/apc/dev.h5 --valid-data data/dev \\
        --exp-dir exp/phone_apc
"""

from collections.abc import Sequence
from pathlib import Path

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser, parse_choice
from speechrep.data.features import open_features
from speechrep.data.identity import require_like
from speechrep.data.layers import choose_layer
from speechrep.downstream.base import Labelled, Loading, require_features
from speechrep.downstream.inside import require_pretrained
from speechrep.downstream.registry import TASKS
from speechrep.io.model_files import INFO, read_info
from speechrep.train import distributed
from speechrep.train.config import TrainConfig
from speechrep.train.run import add_run_options, begin
from speechrep.train.trainer import has_begun, train

PART = "part of the set: train, valid, test (of each speaker's), joined by +; or a file of ids"
SETS = {"train": "to train on", "valid": "by which the best model is picked"}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    for name, what in SETS.items():
        parser.add_argument(f"--{name}", required=True, metavar="FEATS", help=f"features {what}")
        parser.add_argument(f"--{name}-data", required=True, metavar="DIR", help="their data directory")
        parser.add_argument(f"--{name}-split", default="", metavar="PART", help=PART)
    parser.add_argument(
        "--layer", default="",
        help="of representations with several layers: last, first, average or a number; empty: all of them, "
        "summed with learned weights",
    )  # fmt: skip
    add_run_options(parser)
    add_options(parser, TrainConfig, "training")
    args = parse_choice(parser, "task", {name: kind.config for name, kind in TASKS.items()}, argv)
    config = from_options(TrainConfig, args)
    names = ("task", "layer", *(key for name in SETS for key in (name, f"{name}_data", f"{name}_split")))
    named = {name: getattr(args, name) for name in names}
    with begin(args, "speechrep.bin.train_downstream", argv, named, (args.task_config, config)) as device:
        loading = Loading(config.seed, args.num_workers, distributed.rank(), distributed.world_size(), device)
        sets = [
            Labelled(
                choose_layer(open_features(getattr(args, name)), args.layer),
                Path(getattr(args, f"{name}_data")),
                getattr(args, f"{name}_split"),
            )
            for name in SETS
        ]
        first, second = (labelled.feats for labelled in sets)
        require_like(first, second)
        if (Path(args.exp_dir) / INFO).exists():  # by the same paths, but they may hold others since
            info = read_info(args.exp_dir)
            require_features(info, first, args.exp_dir)
            require_pretrained(info, args.exp_dir)
        task = TASKS[args.task].build(args.task_config, *sets, loading)
        if not has_begun(args.exp_dir):
            task.prepare(device)
        train(task, config, args.exp_dir, device=device)


if __name__ == "__main__":
    run(main)

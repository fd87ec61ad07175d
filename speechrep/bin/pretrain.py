"""Pre-train an upstream on features; --max-steps 0 saves the untrained model.

    python -m speechrep.bin.pretrain --config conf/apc.yaml \\
        --train-dir dump/fbank80/train --valid-dir dump/fbank80/dev --exp-dir exp/apc
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechrep.bin import run
from speechrep.compat.convert import load_any
from speechrep.config import add_options, from_options, make_parser, parse_choice
from speechrep.data.features import FeatureReader, open_features
from speechrep.data.identity import global_statistics, require_equal, require_statistics, sha256_of
from speechrep.errors import InputError
from speechrep.io.feature_meta import parse_meta
from speechrep.io.model_files import INFO, model_folder, read_info
from speechrep.report.board import pictures
from speechrep.train import distributed
from speechrep.train.config import TrainConfig
from speechrep.train.run import add_run_options, begin
from speechrep.train.trainer import has_begun, is_finished, train
from speechrep.upstream.begin import begin_from
from speechrep.upstream.card import UNKNOWN, write_card
from speechrep.upstream.pretraining import PretrainData, Pretraining
from speechrep.upstream.registry import CONFIGS, build


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--train-dir", required=True, metavar="FEATS", help="features to train on")
    parser.add_argument("--valid-dir", required=True, metavar="FEATS", help="features to validate on")
    parser.add_argument("--licence", default="", help="of the weights, for the model card README.md")
    parser.add_argument(
        "--train-target-dir", default="", metavar="FEATS",
        help="other features of the same utterances to reconstruct, such as linear spectrograms",
    )  # fmt: skip
    parser.add_argument("--valid-target-dir", default="", metavar="FEATS", help="the same for validation")
    parser.add_argument(
        "--init-from", default="", metavar="MODEL",
        help="begin with the weights of this upstream, ours or another project's, in place of random ones",
    )  # fmt: skip
    parser.add_argument(
        "--num-pictures", type=int, default=1, help="validation utterances to draw for TensorBoard"
    )
    add_run_options(parser)
    add_options(parser, PretrainData, "data")
    add_options(parser, TrainConfig, "training")
    args = parse_choice(parser, "upstream", CONFIGS, argv)
    config, data = from_options(TrainConfig, args), from_options(PretrainData, args)
    if args.num_pictures < 0:
        raise InputError(f"want 0 or more, got {args.num_pictures}", where="--num-pictures")
    names = ("upstream", "train_dir", "valid_dir", "train_target_dir", "valid_target_dir")
    named = {name: getattr(args, name) for name in names}
    if args.init_from:
        named["init_from"] = str(model_folder(args.init_from))
        if Path(args.init_from).resolve().is_relative_to(Path(args.exp_dir).resolve()):
            raise InputError("is in --exp-dir", where="--init-from", mend="train in another --exp-dir")
    with begin(args, "speechrep.bin.pretrain", argv, named, (args.upstream_config, data, config)) as device:
        readers = [open_features(args.train_dir), open_features(args.valid_dir)]
        torch.manual_seed(config.seed)
        meta = readers[0].meta
        _require_the_same(args.exp_dir, "input", readers[0])
        upstream_config, targets = args.upstream_config, None
        if bool(args.train_target_dir) != bool(args.valid_target_dir):
            raise InputError("--train-target-dir and --valid-target-dir go together: give both")
        if args.train_target_dir:
            targets = open_features(args.train_target_dir), open_features(args.valid_target_dir)
            _require_the_same(args.exp_dir, "target", targets[0])
            upstream_config = _with_target_dim(upstream_config, targets[0].meta.dim)
        elif getattr(upstream_config, "target_dim", 0) not in (0, meta.dim):
            raise InputError(
                f"target-dim is {upstream_config.target_dim}, the features have {meta.dim}",
                where="--target-dim", mend="other features to reconstruct are --train-target-dir's",
            )  # fmt: skip
        model = build(args.upstream, upstream_config, meta)
        model.cmvn_stats = global_statistics(readers[0])
        begun_from: dict[str, Any] = {}
        if args.init_from:
            if has_begun(args.exp_dir):
                begun_from = _begun_before(args.exp_dir)
            else:
                begun_from = begin_from(model, load_any(args.init_from), readers[0], args.init_from)
        task = Pretraining(
            model,
            *readers,
            data,
            config.seed,
            num_workers=args.num_workers,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            pin_memory=device.type == "cuda",
            targets=targets,
            begun_from=begun_from,
            draw=functools.partial(
                pictures, count=args.num_pictures, other=targets[0].meta if targets else None
            )
            if args.num_pictures
            else None,
        )
        # Of a finished run the card may have a licence that was given since.
        told = is_finished(args.exp_dir) and (Path(args.exp_dir) / "README.md").exists()
        train(task, config, args.exp_dir, device=device)
        if distributed.rank() == 0 and not told:
            write_card(args.exp_dir, args.licence or (UNKNOWN if args.overwrite else ""))


def _require_the_same(exp_dir: str, what: str, reader: FeatureReader) -> None:
    """Refuse to go on with other features: by the same paths, but they may hold others since."""
    if (Path(exp_dir) / INFO).exists():
        info = read_info(exp_dir)
        made_for = parse_meta(info.get(what), exp_dir)
        require_equal(made_for.acoustic(), reader.meta.acoustic(), exp_dir, reader.path)
        if what == "input" and info.get("cmvn_stats"):
            stats = np.array(info["cmvn_stats"], np.float64)
            require_statistics(sha256_of(stats), reader, f"what {exp_dir} was begun with")


def _begun_before(exp_dir: str) -> dict[str, Any]:
    """What a run that goes on told of the weights that it began with; there may be others now."""
    return read_info(exp_dir).get("begun_from", {}) if (Path(exp_dir) / INFO).exists() else {}


def _with_target_dim(config: Any, dim: int) -> Any:
    """The model's options for targets of ``dim`` values."""
    if not hasattr(config, "target_dim"):
        raise InputError("only mockingjay reconstructs other features", where="--train-target-dir")
    if config.target_dim not in (0, dim):
        raise InputError(
            f"target-dim is {config.target_dim}, the targets have {dim}", where="--train-target-dir"
        )
    return dataclasses.replace(config, target_dim=dim)


if __name__ == "__main__":
    run(main)

"""The control of a trained upstream: the same network with random weights.

    python -m speechrep.bin.untrained --like exp/other/apc --exp-dir exp/demo/apc_untrained

The weights are those with which ``pretrain`` of the same seed began.
"""

from collections.abc import Sequence
from pathlib import Path

import torch

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.model_files import INFO, read_info
from speechrep.upstream.checkpoint import describe, load, rebuild, save_model


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--like", required=True, metavar="DIR", help="a trained upstream")
    parser.add_argument("--exp-dir", required=True, metavar="DIR", help="where the untrained one goes")
    parser.add_argument("--seed", type=int, default=1, help="of the weights")
    args = parser.parse_args(argv)
    there = read_info(args.exp_dir) if (Path(args.exp_dir) / INFO).exists() else {}
    if there.get("step") or "imported" in there:
        raise InputError(
            "there is a trained model already", where=args.exp_dir, mend="choose another --exp-dir"
        )
    info = describe(load(args.like))
    torch.manual_seed(args.seed)
    save_model(args.exp_dir, rebuild(info, args.like))


if __name__ == "__main__":
    run(main)

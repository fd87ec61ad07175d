"""Store a model's hidden vectors of a set in an HDF5 file.

python -m speechrep.bin.dump --upstream exp/apc --feats-dir dump/fbank80/dev --out dump/apc/dev.h5
"""

from collections.abc import Sequence

from speechrep.bin import run
from speechrep.compat.convert import load_any
from speechrep.config import add_options, from_options, make_parser
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.train import distributed
from speechrep.upstream.dumping import DumpConfig, dump


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--upstream", required=True, metavar="MODEL", help="experiment directory or model file"
    )
    parser.add_argument("--feats-dir", required=True, metavar="FEATS", help="the set's acoustic features")
    parser.add_argument("--out", required=True, metavar="FILE", help="the store to write, FILE.h5")
    parser.add_argument("--ngpu", type=int, default=0, help="1 to compute on a GPU")
    parser.add_argument("--num-workers", type=int, default=0, help="background processes that read features")
    add_options(parser, DumpConfig, "store")
    args = parser.parse_args(argv)
    if not args.out.endswith(".h5"):
        raise InputError(f"{args.out!r} does not end in .h5", where="--out")
    model = load_any(args.upstream, distributed.start(args.ngpu))
    dump(
        model, open_features(args.feats_dir), args.out, from_options(DumpConfig, args), args.upstream,
        args.num_workers,
    )  # fmt: skip


if __name__ == "__main__":
    run(main)

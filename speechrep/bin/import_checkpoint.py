"""Read another project's checkpoint into an experiment directory that ``speechrep.load`` takes.

python -m speechrep.bin.import_checkpoint --from mockingjay mockingjay-500000.ckpt --out exp/mockingjay
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from speechrep.bin import run
from speechrep.compat.convert import PROJECTS, import_model, save_import
from speechrep.compat.presets import PRESETS
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.frontend.cmvn import Cmvn
from speechrep.io.feature_meta import read_meta

logger = logging.getLogger("import_checkpoint")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("file", type=Path, help="the other project's checkpoint; nothing in it is run")
    parser.add_argument("--from", dest="project", choices=PROJECTS, required=True, help="whose it is")
    parser.add_argument("--out", type=Path, required=True, help="the experiment directory to write")
    parser.add_argument(
        "--preset",
        choices=PRESETS,
        default="",
        help="the features it was made for; default: as the file says",
    )
    parser.add_argument(
        "--features",
        type=Path,
        default=None,
        help="the same: a feature directory of ours, or its features.json",
    )
    parser.add_argument(
        "--residual", choices=("all", "none"), default="",
        help="residual connections of an original APC file; default: by its name, else all",
    )  # fmt: skip
    parser.add_argument(
        "--time-shift", type=int, default=0, help="of an original APC file, frames; 0: by its name, else 3"
    )
    parser.add_argument(
        "--embedding-layer", action="store_true", help="a Mockingjay's input embedding is its hidden layer 0"
    )
    args = parser.parse_args(argv)
    if args.preset and args.features:
        raise InputError("--preset and --features say the same thing: give one")
    if args.project != "apc" and (args.residual or args.time_shift):
        raise InputError(
            f"--residual and --time-shift are for files of apc; {args.project} says them in the file"
        )
    if (args.out / "model.json").exists():
        raise InputError("there is a model already", where=args.out, mend="choose another --out")
    meta = None
    if args.features is not None:
        meta = read_meta(args.features / "features.json" if args.features.is_dir() else args.features)
    imported = import_model(
        args.file, args.project, args.preset, meta, args.residual, args.time_shift, args.embedding_layer
    )
    if meta is not None and meta.cmvn == "global" and args.features.is_dir():  # so that it takes audio, too
        imported.model.cmvn_stats = Cmvn(args.features, "global", meta.norm_vars).stats("")
    if args.embedding_layer and imported.model.name != "mockingjay":
        raise InputError(f"is for a Mockingjay, this is {imported.model.name}", where="--embedding-layer")
    for row in imported.report:
        logger.info(row.line())
    for note in imported.about["notes"]:
        logger.warning(note)
    sha = save_import(imported, args.out)
    preset = imported.about["preset"] or "of no preset"
    logger.info(
        "%s: %s for features %s (%s, %d values), %d keys, weights %s", args.out, imported.model.name, preset,
        imported.model.meta.feature, imported.model.meta.dim, len(imported.report), sha[:12],
    )  # fmt: skip


if __name__ == "__main__":
    run(main)

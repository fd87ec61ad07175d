"""Write one of our models as another project's checkpoint; what its format would lose is refused.

python -m speechrep.bin.export_checkpoint --to s3prl exp/apc --out apc.ckpt
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from speechrep.bin import run
from speechrep.compat.convert import PROJECTS, export_model
from speechrep.config import make_parser

logger = logging.getLogger("export_checkpoint")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("exp_dir", type=Path, help="an experiment directory, or the model.safetensors in it")
    parser.add_argument("--to", dest="project", choices=PROJECTS, required=True, help="whose format")
    parser.add_argument("--out", type=Path, required=True, help="the file to write")
    args = parser.parse_args(argv)
    for note in export_model(args.exp_dir, args.project, args.out):
        logger.warning(note)
    logger.info("%s: written for %s", args.out, args.project)


if __name__ == "__main__":
    run(main)

"""Copy features between archives, plain, compressed or text, as Kaldi's copy-feats does.

python -m speechrep.bin.copy_feats --compress true scp:feats.scp ark,scp:out.ark,out.scp
"""

import logging
from collections.abc import Sequence

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.io.compression import METHODS
from speechrep.io.specifier import open_writer, read_entries

_log = logging.getLogger("copy_feats")


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = make_parser(__doc__)
    parser.add_argument("source", metavar="RSPECIFIER", help="such as scp:feats.scp, ark:feats.ark or ark:-")
    parser.add_argument(
        "target", metavar="WSPECIFIER", help="such as ark:out.ark, ark,t:- or ark,scp:o.ark,o.scp"
    )
    parser.add_argument("--compress", default="false", choices=("true", "false"), help="one byte per value")
    parser.add_argument("--compression-method", type=int, default=1, choices=METHODS[1:], help="Kaldi's")
    parser.add_argument("--allow-pipes", default="false", choices=("true", "false"), help="run commands")
    args = parser.parse_args(argv)
    pipes, count = args.allow_pipes == "true", 0
    method = args.compression_method if args.compress == "true" else 0
    with open_writer(args.target, method, allow_pipes=pipes) as writer:
        for key, matrix in read_entries(args.source, allow_pipes=pipes):
            if matrix.ndim == 1 and matrix.dtype.kind == "f" and matrix.size:
                matrix = matrix[None]  # a matrix of one row, as text, looks like a vector
            if matrix.ndim != 2:
                raise InputError(f"{key!r} is not a matrix", where=args.source)
            writer.write(key, matrix)
            count += 1
        if not count:  # while what the target held is still there
            raise InputError("nothing to copy", where=args.source)
    _log.info("copied %d features", count)


if __name__ == "__main__":
    run(main)

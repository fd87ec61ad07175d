"""Import features from the APC project's text archive into a feature directory, streaming.

    python -m speechrep.bin.import_blogmel --file train.blogmel.xz --out-dir dump/blogmel/train

An utterance is a line with its name, a line of numbers per frame, and a line with a full stop.
"""

import bz2
import contextlib
import dataclasses
import gzip
import logging
import lzma
import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.data.identity import require_global_cmvn
from speechrep.errors import InputError, telling_of
from speechrep.frontend.cmvn import SCOPES
from speechrep.frontend.feature_dir import Piece, PieceWriter, merge
from speechrep.io.feature_marks import invalidate_all, require_no_data_dir
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.progress import Progress

_log = logging.getLogger("import_blogmel")
_OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--file", required=True, help=".blogmel, also with .gz, .xz or .bz2; - for standard input"
    )
    parser.add_argument("--out-dir", required=True, type=Path, help="feature directory to make")
    parser.add_argument(
        "--kind", default="blogmel", help="what the features are; others are not mixed with them"
    )
    parser.add_argument("--frame-shift", type=float, default=10.0, help="from one frame to the next, ms")
    parser.add_argument(
        "--sample-frequency", type=int, default=16000, help="rate of the audio they are of, Hz"
    )
    parser.add_argument(
        "--cmvn", default="none", choices=SCOPES, help="normalise, when reading, over each of these"
    )
    parser.add_argument(
        "--global-cmvn-from", type=Path, help="take global CMVN statistics from this feature directory"
    )
    parser.add_argument("--norm-vars", default="true", choices=("true", "false"), help="the variance too")
    parser.add_argument("--compress", default="false", choices=("true", "false"), help="one byte per value")
    parser.add_argument("--utt2spk", type=Path, help="speakers, for CMVN by speaker")
    args = parser.parse_args(argv)
    out = args.out_dir
    require_no_data_dir(out)
    if args.cmvn == "speaker" and not args.utt2spk:
        raise InputError("needs --utt2spk", where="--cmvn speaker")
    if args.utt2spk and not args.utt2spk.is_file():
        raise InputError("no such file", where=f"--utt2spk {args.utt2spk}")
    for name in ("frame_shift", "sample_frequency"):
        if not 0 < getattr(args, name) < math.inf:
            option = "--" + name.replace("_", "-")
            raise InputError(f"want more than 0, got {getattr(args, name)}", where=option)
    meta = FeatureMeta(
        feature="kaldi", config={"kind": args.kind} if args.kind else {}, dim=0,
        frame_shift_ms=args.frame_shift, sample_rate=args.sample_frequency,
        cmvn=args.cmvn, norm_vars=args.norm_vars == "true",
        dtype="kaldi-compressed-2" if args.compress == "true" else "float32",
    )  # fmt: skip
    if args.global_cmvn_from:
        require_global_cmvn(args.global_cmvn_from, meta)
    dim = 0
    stats = out / ".stats.ark"
    method = 2 if args.compress == "true" else 0
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(contextlib.closing(open_text(args.file)))
        invalidate_all(out)
        writer = stack.enter_context(PieceWriter(out / "feats.1.ark", stats, method))
        for utt_id, feats, number in Progress(0, "utterances").over(read_blogmel(stream, args.file)):
            if dim not in (0, feats.shape[1]):
                what = f"utterance {utt_id!r} has {feats.shape[1]} values per frame, the first has {dim}"
                raise InputError(what, where=f"{args.file}:{number}")
            dim = feats.shape[1]
            writer.write(utt_id, feats)
    if not writer.utts:
        raise InputError("no utterances", where=args.file)
    piece = Piece(writer.archive, stats, writer.utts)
    count = merge(out, [piece], args.cmvn, args.utt2spk, args.global_cmvn_from)
    write_meta(out / "features.json", dataclasses.replace(meta, dim=dim))
    stats.unlink()
    _log.info("%s: %d utterances, %d values per frame", out, count, dim)


def open_text(path: str) -> IO[bytes]:
    """Open the archive for reading, decompressing as its name says."""
    if path == "-":
        return sys.stdin.buffer
    with telling_of(path):
        return _OPENERS.get(Path(path).suffix, open)(path, "rb")  # type: ignore[operator]


def read_blogmel(stream: IO[bytes], name: str) -> Iterator[tuple[str, np.ndarray, int]]:
    """The utterances of the archive, one in memory at a time.

    Args:
        stream: the text.
        name: for messages.

    Yields:
        Utterance, features float32 (T, D), and the number of its first line.

    Raises:
        InputError: what is not of this format, naming line and utterance; damaged compression.
    """
    utt_id, first, rows = "", 0, []
    number = 0
    try:
        for number, line in enumerate(stream, start=1):
            words = line.split()
            where = f"{name}:{number}"
            if words == [b"."]:
                if not rows:
                    raise InputError(f"utterance {utt_id!r} ends without a frame", where=where)
                yield utt_id, np.array(rows, np.float32), first
                utt_id, rows = "", []
            elif not utt_id:
                if len(words) != 1:
                    raise InputError(f"{len(words)} words where an utterance's name should be", where=where)
                utt_id, first = _name(words[0], where), number
            else:
                rows.append(_frame(words, len(rows[0]) if rows else 0, utt_id, where))
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(f"cannot be read after line {number}: {error}", where=name) from error
    if utt_id:
        raise InputError(f"ends within utterance {utt_id!r}", where=f"{name}:{number}")


def _name(word: bytes, where: str) -> str:
    try:
        return word.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError("a name that is not UTF-8", where=where) from error


def _frame(words: list[bytes], dim: int, utt_id: str, where: str) -> list[float]:
    if len(words) < 2:
        # A line of one word is a name by this format's rule, so frames of one value cannot be told from it.
        raise InputError(f"utterance {utt_id!r}: want two values per frame or more", where=where)
    if dim and len(words) != dim:
        raise InputError(f"utterance {utt_id!r}: {len(words)} values in a frame of {dim}", where=where)
    try:
        frame = [float(word) for word in words]
    except ValueError as error:
        raise InputError(f"utterance {utt_id!r}: {error}", where=where) from error
    if not (np.abs(frame) <= np.finfo(np.float32).max).all():  # NaN too is not
        raise InputError(f"utterance {utt_id!r}: NaN, infinity or beyond float32", where=where)
    return frame


if __name__ == "__main__":
    run(main)

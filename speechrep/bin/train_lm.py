"""Train a language model over a recogniser's text units, for decoding: LSTM, or an n-gram ARPA file.

    python -m speechrep.bin.train_lm --units-from exp/asr_fbank --exp-dir exp/lm \\
        --train data/train/text --valid data/dev/text
"""

import argparse
import logging
import re
from collections.abc import Sequence
from pathlib import Path

from speechrep.bin import run
from speechrep.config import add_options, from_options, make_parser
from speechrep.decode.lm import LmConfig
from speechrep.decode.lm_task import LmBatches, LmTask
from speechrep.decode.ngram import ARPA, ORDERS, RESERVED, estimate, ngram_sentences, write_arpa
from speechrep.errors import InputError
from speechrep.io.files import read_utf8
from speechrep.io.model_files import INFO, read_info
from speechrep.score.wer import read_text
from speechrep.text.registry import FILE, load_tokenizer, parse_tokenizer, save_tokenizer
from speechrep.text.tokenizer import Tokenizer
from speechrep.train import distributed
from speechrep.train.config import TrainConfig
from speechrep.train.run import add_run_options, begin
from speechrep.train.trainer import train

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--kind", choices=("lstm", "ngram"), default="lstm", help="which model")
    parser.add_argument("--units-from", required=True, metavar="DIR", help="recogniser or tokenizer")
    parser.add_argument("--train", required=True, metavar="FILE", help="Kaldi text, or lines with --plain")
    parser.add_argument("--valid", default="", metavar="FILE", help="the same, to pick the best LSTM")
    parser.add_argument("--plain", action="store_true", help="the files hold sentences without utterance ids")
    parser.add_argument("--order", type=int, default=5, help="ngram: longest n-gram, in units")
    add_run_options(parser)
    add_options(parser, LmConfig, "lstm")
    add_options(parser, LmBatches, "batches")
    add_options(parser, TrainConfig, "training")
    args = parser.parse_args(argv)
    tokenizer = units_from(args.units_from)
    texts = [_sentences(path, args.plain) for path in (args.train, args.valid) if path]
    if not texts[0]:
        raise InputError("no text", where=args.train)
    other = Path(args.exp_dir) / (INFO if args.kind == "ngram" else ARPA)
    if other.exists():
        raise InputError("there is a model of another kind", where=other, mend="choose another --exp-dir")
    if args.kind == "ngram":
        _estimate_ngram(args, tokenizer, texts[0])
    else:
        _train_lstm(args, argv, tokenizer, texts)


def _estimate_ngram(args: argparse.Namespace, tokenizer: Tokenizer, sentences: list[str]) -> None:
    if args.order not in ORDERS:
        raise InputError(f"want 2 to {ORDERS[-1]} (kenlm reads no other), got {args.order}", where="--order")
    reserved = sorted(RESERVED.intersection(tokenizer.units))
    if reserved:
        raise InputError(
            f"a unit {reserved[0]}, which n-gram models keep for themselves",
            where=args.units_from, mend="<unk> is the word for what is not known",
        )  # fmt: skip
    tables = estimate(ngram_sentences(sentences, tokenizer), args.order, tokenizer.units[1:])
    path = Path(args.exp_dir) / ARPA
    save_tokenizer(args.exp_dir, tokenizer)
    write_arpa(path, tables)
    log.info("%d-gram model of %d sentences in %s", args.order, len(sentences), path)


def _train_lstm(
    args: argparse.Namespace, argv: Sequence[str] | None, tokenizer: Tokenizer, texts: list[list[str]]
) -> None:
    if not args.valid:
        raise InputError("an LSTM needs text to pick its best state on", where="--valid")
    config, batches, model = (from_options(cls, args) for cls in (TrainConfig, LmBatches, LmConfig))
    named = {name: getattr(args, name) for name in ("kind", "units_from", "train", "valid")}
    named |= {"plain": True} if args.plain else {}
    with begin(args, "speechrep.bin.train_lm", argv, named, (model, batches, config)) as device:
        task = LmTask(
            model, batches, tokenizer, texts[0], texts[1], (args.train, args.valid), config.seed,
            distributed.rank(), distributed.world_size(), args.num_workers, device.type == "cuda",
        )  # fmt: skip
        train(task, config, args.exp_dir, device=device)


def units_from(directory: str) -> Tokenizer:
    """The text units of a recogniser's experiment or of a directory that train_tokenizer wrote."""
    if (Path(directory) / FILE).is_file():
        return load_tokenizer(directory)
    return parse_tokenizer(read_info(directory).get("tokenizer"), directory)


def _sentences(path: str, plain: bool) -> list[str]:
    """Those that are not empty: a line without words is no sentence."""
    if plain:
        sentences = [re.findall("[^ \t\r]+", line) for line in read_utf8(path).split("\n")]
    else:
        sentences = list(read_text(path).values())
    return [" ".join(words) for words in sentences if words]


if __name__ == "__main__":
    run(main)

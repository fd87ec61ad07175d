"""Make text units from transcripts: characters, words, or SentencePiece (unigram, bpe).

    python -m speechrep.bin.train_tokenizer --text data/train_clean_100/text --out-dir exp/tokenizer \\
        --unit unigram --vocab-size 1000
"""

import logging
from collections.abc import Sequence

from speechrep.bin import run
from speechrep.config import make_parser
from speechrep.errors import InputError
from speechrep.score.wer import read_text
from speechrep.text.registry import TOKENIZERS, save_tokenizer, train_tokenizer

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = make_parser(__doc__)
    parser.add_argument("--text", required=True, help="Kaldi text: 'utterance word word ...'")
    parser.add_argument("--unit", choices=sorted(TOKENIZERS), default="char", help="what a unit is")
    parser.add_argument("--vocab-size", type=int, default=0, help="units with blank and unknown; 0: all")
    parser.add_argument("--out-dir", required=True, help="for tokenizer.json and units.txt")
    args = parser.parse_args(argv)
    if args.vocab_size < 0 or 0 < args.vocab_size < 3:
        what = f"want 3 or more (blank, unknown and a unit), or 0, got {args.vocab_size}"
        raise InputError(what, where="--vocab-size")
    texts = [" ".join(words) for words in read_text(args.text).values()]
    tokenizer = train_tokenizer(args.unit, texts, args.vocab_size, args.text)
    save_tokenizer(args.out_dir, tokenizer)
    log.info("%d units of %d utterances in %s", len(tokenizer.units), len(texts), args.out_dir)


if __name__ == "__main__":
    run(main)

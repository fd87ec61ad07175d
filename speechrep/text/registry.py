"""The tokenizers by name, and their files."""

import collections
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from speechrep.errors import InputError
from speechrep.io.files import atomic_open, read_json, write_json
from speechrep.text.char import CharTokenizer
from speechrep.text.sentencepiece import BpeTokenizer, SentencePieceTokenizer, UnigramTokenizer
from speechrep.text.tokenizer import Tokenizer
from speechrep.text.word import WordTokenizer

TOKENIZERS: dict[str, Any] = {
    "char": CharTokenizer,
    "word": WordTokenizer,
    "unigram": UnigramTokenizer,
    "bpe": BpeTokenizer,
}
FILE = "tokenizer.json"
_BRACKETS = (("<", ">"), ("[", "]"))  # of what is no word: <noise>, [laughter]
_log = logging.getLogger("tokenizer")


def train_tokenizer(kind: str, texts: Sequence[str], vocab_size: int, where: object) -> Tokenizer:
    """Make a tokenizer from transcripts.

    Args:
        kind: a key of :data:`TOKENIZERS`.
        texts: one line per utterance, words parted by single spaces.
        vocab_size: units including blank and unknown; without effect on ``char``, 0 is all for ``word``.
        where: where the texts come from, for messages.
    """
    if kind not in TOKENIZERS:
        raise InputError(f"no tokenizer {kind!r}; there are {sorted(TOKENIZERS)}", where=where)
    if not any(texts):
        raise InputError("no text to train a tokenizer on", where=where)
    if kind != "word":
        _tell_of_marks(texts, where)
    tokenizer: Tokenizer = TOKENIZERS[kind].train(texts, vocab_size)
    return tokenizer


def _tell_of_marks(texts: Sequence[str], where: object) -> None:
    marks = collections.Counter(
        word for text in texts for word in text.split() if (word[0], word[-1]) in _BRACKETS
    )
    if marks:
        _log.warning(
            "%s: %s are spelt as words are; take them out of the transcripts unless they are spoken",
            where, ", ".join(f"{word} ({count})" for word, count in marks.most_common(5)),
        )  # fmt: skip


def parse_tokenizer(values: Any, where: object) -> Tokenizer:
    """The tokenizer of which ``values`` is the plain form."""
    try:
        tokenizer: Tokenizer = TOKENIZERS[values["kind"]].from_json(values)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"not a tokenizer: {error!r}", where=where) from error
    return tokenizer


def require_same_units(own: Tokenizer, tokenizer: Tokenizer, where: object) -> None:
    """Refuse a language model over other units than a recogniser's.

    Args:
        own: the language model's.
        tokenizer: the recogniser's.
        where: the language model, for messages.
    """
    if own.to_json() != tokenizer.to_json():
        raise InputError(
            f"the language model's {len(own.units)} units ({own.kind}) are not the recogniser's "
            f"{len(tokenizer.units)} ({tokenizer.kind})",
            where=where, mend="train it with --units-from the recogniser's experiment",
        )  # fmt: skip


def save_tokenizer(directory: str | os.PathLike[str], tokenizer: Tokenizer) -> None:
    """Write ``tokenizer.json``, the list ``units.txt`` and, for SentencePiece, its ``tokenizer.model``."""
    directory = Path(directory)
    with atomic_open(directory / "units.txt") as stream:
        stream.writelines(f"{unit} {number}\n" for number, unit in enumerate(tokenizer.units))
    if isinstance(tokenizer, SentencePieceTokenizer):
        with atomic_open(directory / "tokenizer.model", "wb") as stream:
            stream.write(tokenizer.model)
    write_json(directory / FILE, tokenizer.to_json())


def load_tokenizer(directory: str | os.PathLike[str]) -> Tokenizer:
    """Read what :func:`save_tokenizer` wrote."""
    path = Path(directory) / FILE
    return parse_tokenizer(read_json(path), path)

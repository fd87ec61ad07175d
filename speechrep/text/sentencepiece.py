"""Pieces of words as units, by the SentencePiece library: unigram model or byte-pair encoding.

Text is taken as it is (no Unicode normalisation, runs of spaces kept), so that decoding gives it back.
The library writes U+2581 for a space; a text that contains that character itself reads back with spaces.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from typing import Any

import sentencepiece

from speechrep.errors import InputError
from speechrep.text.tokenizer import BLANK, BLANK_ID, UNKNOWN, UNKNOWN_ID


class SentencePieceTokenizer:
    """A trained SentencePiece model; ``kind`` says which (see the subclasses)."""

    kind = ""

    def __init__(self, model: bytes):
        self.model = model
        """The bytes of a ``.model`` file, as the library's own tools read it."""
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.units = [self._processor.id_to_piece(i) for i in range(self._processor.get_piece_size())]

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 0) -> "SentencePieceTokenizer":
        """Train on one line of text per utterance.

        Args:
            texts: lines; empty ones are skipped.
            vocab_size: units, blank and unknown included.

        Raises:
            InputError: the text is too small for so many units, or has more characters than units.
        """
        if vocab_size <= 0:
            raise InputError(f"vocab_size is {vocab_size}", where=cls.kind, mend="give the number of units")
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter([text for text in texts if text.strip()]), model_writer=model,
                model_type=cls.kind, vocab_size=vocab_size, character_coverage=1.0,
                normalization_rule_name="identity", remove_extra_whitespaces=False,
                pad_id=BLANK_ID, pad_piece=BLANK, unk_id=UNKNOWN_ID, unk_piece=UNKNOWN, unk_surface=UNKNOWN,
                bos_id=-1, eos_id=-1, num_threads=1, minloglevel=2, max_sentence_length=1 << 20,
            )  # fmt: skip
        except RuntimeError as error:  # the library's only kind of complaint
            reason = str(error).rsplit("] ", 1)[-1].strip() or "no text to train on"
            raise InputError(f"cannot train {vocab_size} units: {reason}", where=cls.kind) from error
        return cls(model.getvalue())

    def encode(self, text: str) -> list[int]:
        """Unit numbers of ``text``."""
        return list(self._processor.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        """Text of unit numbers."""
        return str(self._processor.decode([int(number) for number in ids if number != BLANK_ID]))

    def to_json(self) -> dict[str, Any]:
        """Plain values for :meth:`from_json`."""
        return {"kind": self.kind, "model": base64.b64encode(self.model).decode("ascii")}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "SentencePieceTokenizer":
        """Rebuild from :meth:`to_json`."""
        return cls(base64.b64decode(values["model"], validate=True))


class UnigramTokenizer(SentencePieceTokenizer):
    """The unigram language model of Kudo (2018)."""

    kind = "unigram"


class BpeTokenizer(SentencePieceTokenizer):
    """Byte-pair encoding (Sennrich et al. 2016)."""

    kind = "bpe"

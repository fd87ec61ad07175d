"""Words as units: what stands between spaces."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from speechrep.text.tokenizer import BLANK, UNKNOWN, UNKNOWN_ID, words_of


class WordTokenizer:
    """One unit per word. Runs of spaces come back as one space."""

    kind = "word"

    def __init__(self, words: Sequence[str]):
        self.units = [BLANK, UNKNOWN, *words]
        self._ids = {word: number for number, word in enumerate(words, UNKNOWN_ID + 1)}

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 0) -> "WordTokenizer":
        """The words of ``texts``, most frequent first, ties in alphabetical order; ``<unk>`` is the unknown.

        Args:
            texts: one line per utterance.
            vocab_size: how many units to keep, blank and unknown included; 0 all.
        """
        counts = Counter(word for text in texts for word in words_of(text) if word != UNKNOWN)
        words = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(words[: vocab_size - 2] if vocab_size else words)

    def encode(self, text: str) -> list[int]:
        """Unit numbers of ``text``."""
        return [self._ids.get(word, UNKNOWN_ID) for word in words_of(text)]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of unit numbers."""
        return " ".join(self.units[number] for number in ids if number)

    def to_json(self) -> dict[str, Any]:
        """Plain values for :meth:`from_json`."""
        return {"kind": self.kind, "words": self.units[UNKNOWN_ID + 1 :]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "WordTokenizer":
        """Rebuild from :meth:`to_json`."""
        return cls(values["words"])

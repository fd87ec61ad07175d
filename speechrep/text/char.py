"""Characters as units; the space is one of them."""

from collections.abc import Iterable, Sequence
from typing import Any

from speechrep.text.tokenizer import BLANK, UNKNOWN, UNKNOWN_ID

SPACE = "<space>"  # how the space is written in lists of units, where a bare one would not show


class CharTokenizer:
    """One unit per Unicode code point seen in training."""

    kind = "char"

    def __init__(self, characters: Sequence[str]):
        self.units = [BLANK, UNKNOWN, *(SPACE if character == " " else character for character in characters)]
        self._ids = {character: number for number, character in enumerate(characters, UNKNOWN_ID + 1)}
        self._texts = ["", UNKNOWN, *characters]

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int = 0) -> "CharTokenizer":
        """All characters of ``texts`` in the order of their code points; ``vocab_size`` has no effect."""
        return cls(sorted(set().union(*texts)))

    def encode(self, text: str) -> list[int]:
        """Unit numbers of ``text``."""
        return [self._ids.get(character, UNKNOWN_ID) for character in text]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of unit numbers."""
        return "".join(self._texts[number] for number in ids)

    def to_json(self) -> dict[str, Any]:
        """Plain values for :meth:`from_json`."""
        return {"kind": self.kind, "characters": "".join(self._texts[UNKNOWN_ID + 1 :])}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "CharTokenizer":
        """Rebuild from :meth:`to_json`."""
        return cls(list(values["characters"]))

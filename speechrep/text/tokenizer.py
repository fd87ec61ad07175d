"""What every tokenizer is: text to unit numbers and back, and a plain form to store."""

from collections.abc import Sequence
from typing import Any, Protocol

BLANK_ID = 0  # CTC's blank; no text encodes to it
UNKNOWN_ID = 1  # what a tokenizer cannot spell
BLANK = "<blank>"
UNKNOWN = "<unk>"  # how an unknown reads once decoded


class Tokenizer(Protocol):
    """Text to unit numbers and back. ``decode(encode(text)) == text`` unless a unit is unknown."""

    kind: str
    """Its key in :data:`speechrep.text.registry.TOKENIZERS`."""
    units: list[str]
    """What each number stands for; 0 is the blank, 1 the unknown."""

    def encode(self, text: str) -> list[int]:
        """Unit numbers of one line of text; never the blank."""

    def decode(self, ids: Sequence[int]) -> str:
        """Text of unit numbers; blanks are left out."""

    def to_json(self) -> dict[str, Any]:
        """Plain values from which ``from_json`` of the same class rebuilds it."""


def words_of(text: str) -> list[str]:
    """What stands between spaces, as in scoring: other Unicode blanks are part of words."""
    return [word for word in text.split(" ") if word]

"""What every search returns."""

from typing import NamedTuple


class Hypothesis(NamedTuple):
    """One result of a search."""

    ids: list[int]
    """unit numbers, without blanks"""
    score: float
    """log probability; with a length bonus or language model, the total the search ranked by"""

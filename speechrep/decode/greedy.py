"""Greedy CTC: the best unit of every frame, repeats joined, blanks removed."""

import torch

from speechrep.data.padded import valid_mask
from speechrep.text.tokenizer import BLANK_ID


def greedy(log_probs: torch.Tensor, lens: torch.Tensor) -> list[list[int]]:
    """Decode a batch.

    Args:
        log_probs: (B, T, C) scores of units, any monotone function of their probability.
        lens: (B,) valid frames.

    Returns:
        unit numbers of every utterance; equal scores go to the lower unit number.
    """
    # argmax may return any of several equal maxima; the first is picked by hand.
    best = (log_probs == log_probs.amax(-1, keepdim=True)).int().argmax(-1)  # (B, T)
    previous = torch.nn.functional.pad(best[:, :-1], (1, 0), value=-1)
    kept = (best != previous) & (best != BLANK_ID) & valid_mask(lens, best.shape[1])
    return [row[mask].tolist() for row, mask in zip(best, kept, strict=True)]

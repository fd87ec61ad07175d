"""CTC's score of growing prefixes, for searches that go unit by unit.

The probability of all alignments that begin with a prefix (Watanabe et al. 2017, "Hybrid CTC/attention
architecture for end-to-end speech recognition", algorithm 2). Its recursion over frames is linear, hence a
cumulative sum in the right frame of reference, and runs over all frames, hypotheses and next units at once.
"""

from typing import NamedTuple

import torch

from speechrep.text.tokenizer import BLANK_ID

NEVER = -1e9  # log probability of what cannot be; finite, so that differences stay numbers


class CtcState(NamedTuple):
    """Log probabilities that the first ``t`` frames, ``t`` from 0, spell exactly a prefix."""

    unit: torch.Tensor  # (N, T + 1) ... and end in its last unit
    blank: torch.Tensor  # (N, T + 1) ... and end in blank
    prefix: torch.Tensor  # (N,) of all alignments that begin with the prefix

    def select(self, rows: torch.Tensor) -> "CtcState":
        """Rows (M,) of this state, in that order, possibly repeated."""
        return CtcState(*(part[rows] for part in self))


class CtcScorer:
    """Scores next units of hypotheses.

    Args:
        log_probs: (B, T, C) normalised, blank first.
        lens: (B,) valid frames.
    """

    def __init__(self, log_probs: torch.Tensor, lens: torch.Tensor):
        frames = torch.arange(log_probs.shape[1], device=log_probs.device)
        padding = (frames >= lens[:, None])[..., None]
        # Double precision: sums over thousands of frames are subtracted from one another.
        self.log_probs = log_probs.double().clamp(min=-1e4).masked_fill(padding, -1e4)
        self.cumulative = torch.nn.functional.pad(self.log_probs.cumsum(1), (0, 0, 1, 0))  # (B, T + 1, C)
        self.lens = lens

    def initial(self, utts: torch.Tensor) -> CtcState:
        """The empty prefix for hypotheses of utterances ``utts`` (N,)."""
        blank = self.cumulative[utts, :, BLANK_ID]
        return CtcState(torch.full_like(blank, NEVER), blank, torch.zeros_like(blank[:, 0]))

    def extend(
        self, state: CtcState, last: torch.Tensor, utts: torch.Tensor, units: torch.Tensor
    ) -> CtcState:
        """States of every hypothesis grown by each of its candidates.

        Args:
            state: of the hypotheses.
            last: (N,) their last unit number, blank for none.
            utts: (N,) their utterances.
            units: (N, P) candidate unit numbers.

        Returns:
            states with rows n * P + p.
        """
        N, P = units.shape
        frames = torch.arange(self.log_probs.shape[1], device=units.device)
        rows = (utts[:, None, None], frames[None, None], units[..., None])
        log_probs = self.log_probs[rows]  # (N, P, T)
        ended = torch.logaddexp(state.blank, state.unit)[:, None].expand(N, P, -1)
        repeats = (units == last[:, None])[..., None]
        before = torch.where(repeats, state.blank[:, None], ended)[
            ..., :-1
        ]  # (N, P, T) spelt, unit may follow
        total = self.cumulative[utts[:, None, None], frames[None, None] + 1, units[..., None]]
        unit = _recur(before, log_probs, total)
        blank_log_probs = self.log_probs[utts, :, BLANK_ID][:, None]
        blank_total = self.cumulative[utts, 1:, BLANK_ID][:, None]
        never = unit.new_full((N, P, 1), NEVER)
        blank = _recur(torch.cat([never, unit], -1)[..., :-1], blank_log_probs, blank_total)
        prefix = torch.logsumexp(before + log_probs, dim=-1)
        unit, blank = torch.cat([never, unit], -1), torch.cat([never, blank], -1)
        return CtcState(unit.flatten(0, 1), blank.flatten(0, 1), prefix.flatten())

    def end(self, state: CtcState, utts: torch.Tensor) -> torch.Tensor:
        """(N,) log probability that the whole utterance spells exactly the prefix."""
        lens = self.lens[utts][:, None]
        return torch.logaddexp(state.blank.gather(1, lens), state.unit.gather(1, lens))[:, 0]


def _recur(before: torch.Tensor, log_probs: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """``x[t] = (x[t - 1] + before[t]) * p[t]`` over the last axis, ``x[-1]`` zero, all in logarithms.

    Divided by the product of all ``p`` up to ``t`` (``total``) it is a cumulative sum.
    """
    return total + torch.logcumsumexp(before + log_probs - total, dim=-1)

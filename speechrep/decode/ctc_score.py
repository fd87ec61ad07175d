"""CTC's score of growing prefixes, for searches that go unit by unit.

The probability of all alignments that begin with a prefix (Watanabe et al. 2017, "Hybrid CTC/attention
architecture for end-to-end speech recognition", algorithm 2). Its recursion over frames is linear, hence a
cumulative sum in the right frame of reference, and runs over all frames, hypotheses and next units at once.
"""

from typing import NamedTuple

import torch

from speechrep.data.padded import valid_mask
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
        padding = ~valid_mask(lens, log_probs.shape[1])[..., None]
        # Double precision: sums over thousands of frames are subtracted from one another.
        log_probs = log_probs.double().clamp(min=-1e4).masked_fill(padding, -1e4)
        self.log_probs = log_probs.transpose(1, 2).contiguous()  # (B, C, T): a unit's frames lie together
        self.cumulative = self.log_probs.cumsum(2)
        self.lens = lens

    def initial(self, utts: torch.Tensor) -> CtcState:
        """The empty prefix for hypotheses of utterances ``utts`` (N,)."""
        blank = torch.nn.functional.pad(self.cumulative[utts, BLANK_ID], (1, 0))
        return CtcState(torch.full_like(blank, NEVER), blank, torch.zeros_like(blank[:, 0]))

    def prefixes(
        self, state: CtcState, last: torch.Tensor, utts: torch.Tensor, units: torch.Tensor
    ) -> torch.Tensor:
        """Log probabilities of all alignments that begin with a hypothesis and one more unit.

        Args:
            state: of the hypotheses.
            last: (N,) their last unit number, blank for none.
            utts: (N,) their utterances.
            units: (N, P) candidate unit numbers.

        Returns:
            (N, P).
        """
        ended = torch.logaddexp(state.blank, state.unit)[:, None, :-1]
        terms = self.log_probs[utts[:, None], units] + ended  # (N, P, T)
        rows, columns = (units == last[:, None]).nonzero(as_tuple=True)
        # The same unit again counts as another one only after a blank.
        terms[rows, columns] = self.log_probs[utts[rows], units[rows, columns]] + state.blank[rows, :-1]
        return torch.logsumexp(terms, dim=-1)

    def extend(
        self,
        state: CtcState,
        last: torch.Tensor,
        utts: torch.Tensor,
        units: torch.Tensor,
        prefix: torch.Tensor,
    ) -> CtcState:
        """States of hypotheses (N,) grown by one unit each.

        Args:
            state, last, utts: of the hypotheses before, as in :meth:`prefixes`.
            units: (N,) the new units.
            prefix: (N,) their scores from :meth:`prefixes`.
        """
        ended = torch.logaddexp(state.blank, state.unit)
        before = torch.where((units == last)[:, None], state.blank, ended)[:, :-1]  # (N, T)
        never = torch.full_like(before[:, :1], NEVER)
        unit = _recur(before, self.log_probs[utts, units], self.cumulative[utts, units])
        unit = torch.cat([never, unit], -1)
        blank = _recur(unit[:, :-1], self.log_probs[utts, BLANK_ID], self.cumulative[utts, BLANK_ID])
        return CtcState(unit, torch.cat([never, blank], -1), prefix)

    def end(self, state: CtcState, utts: torch.Tensor) -> torch.Tensor:
        """(N,) log probability that the whole utterance spells exactly the prefix."""
        lens = self.lens[utts][:, None]
        return torch.logaddexp(state.blank.gather(1, lens), state.unit.gather(1, lens))[:, 0]


def _recur(before: torch.Tensor, log_probs: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """``x[t] = (x[t - 1] + before[t]) * p[t]`` over the last axis, ``x[-1]`` zero, all in logarithms.

    Divided by the product of all ``p`` up to ``t`` (``total``) it is a cumulative sum.
    """
    return total + torch.logcumsumexp(before + log_probs - total, dim=-1)

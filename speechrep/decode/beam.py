"""One-pass beam search, unit by unit: decoder, CTC and language model score every hypothesis together.

All utterances of a batch advance at once, each with its own beam; a batch gives what its utterances give
one by one. Without length bonus the scores only fall as a hypothesis grows, so the search ends when no
unfinished one can still enter the n-best list; with a bonus, and to save time, also when all have fallen
``end_margin`` below the best finished one. No hypothesis gets longer than its encoder frames, so it always
ends, and no more than beam and n-best are kept of any utterance.
"""

import math
from typing import Any, NamedTuple, Protocol

import torch

from speechrep.decode.ctc_score import NEVER, CtcScorer
from speechrep.decode.hypothesis import Hypothesis

PRESELECT = 1.5  # candidates that CTC scores per hypothesis, times the beam (Watanabe et al. 2017)


class Scorer(Protocol):
    """Something that scores every next class given a hypothesis' history, one row per hypothesis.

    Classes are unit numbers less one, the last one being the end of the sentence.
    """

    def initial(self, utts: torch.Tensor) -> Any:
        """State of hypotheses (N,) of these utterances that have no unit yet."""

    def step(self, state: Any, classes: torch.Tensor, utts: torch.Tensor) -> tuple[torch.Tensor, Any]:
        """Read the last class of each (N,); gives log probabilities (N, C) and the new state.

        The first step reads the end's class, which stands before every sentence too.
        """

    def select(self, state: Any, rows: torch.Tensor) -> Any:
        """Rows (M,) of a state, in that order, possibly repeated."""


class Weighted(NamedTuple):
    """A scorer, its share in the total, and whether it heard the speech, as a decoder did."""

    scorer: Scorer
    weight: float
    heard: bool = True


class Limits(NamedTuple):
    """When to stop, and what to keep."""

    beam: int
    nbest: int = 1
    length_bonus: float = 0.0
    end_margin: float = 10.0


def beam_search(
    scorers: list[Weighted],
    ctc: CtcScorer | None,
    ctc_weight: float,
    lens: torch.Tensor,
    num_units: int,
    limits: Limits,
) -> list[list[Hypothesis]]:
    """Search a batch.

    Args:
        scorers: attention decoder and language models with their weights; may be empty.
        ctc: scores of the same utterances, or None.
        ctc_weight: CTC's weight.
        lens: (B,) encoder frames, the greatest length of a hypothesis.
        num_units: C, blank included, which is also the number of classes.
        limits: beam, n-best and stopping.

    Returns:
        n-best lists, best first; equal scores in the order of their unit numbers.
    """
    device, end = lens.device, num_units - 1
    frames = lens.tolist()  # here, not one by one as they are asked for
    finished: list[list[Hypothesis]] = [[] for _ in range(len(lens))]
    utts = torch.arange(len(lens), device=device)  # (N,) of each running hypothesis; sorted
    classes = torch.full_like(utts, end)
    ids: list[list[int]] = [[] for _ in range(len(lens))]
    local = torch.zeros(len(lens), dtype=torch.float64, device=device)  # (N,) weighted scores without CTC
    states = [item.scorer.initial(utts) for item in scorers]
    ctc_state = ctc.initial(utts) if ctc else None
    # Who did not hear the speech cannot tell which units it may hold.
    worth_ctc = limits.beam if any(item.heard for item in scorers) else num_units
    for length in range(max(frames) + 1):
        scores = local[:, None].expand(-1, num_units).clone()  # (N, C)
        for number, (scorer, weight, _) in enumerate(scorers):
            log_probs, states[number] = scorer.step(states[number], classes, utts)
            scores += weight * log_probs.double()
        candidates = _preselect(scores, worth_ctc, end)  # (N, P) classes
        P = candidates.shape[1]
        grown = scores.gather(1, candidates)
        totals = grown + limits.length_bonus * (length + 1)
        ended = scores[:, end] + limits.length_bonus * length
        last = (classes + 1) % num_units  # unit numbers; the end's class turns into the blank, which is none
        if ctc is not None and ctc_state is not None:
            prefixes = ctc.prefixes(ctc_state, last, utts, candidates + 1)
            ends = ctc.end(ctc_state, utts)
            # What cannot be spelled in so many frames must not fill an n-best list or beam that has room.
            totals = (totals + ctc_weight * prefixes).masked_fill(prefixes < NEVER / 2, -math.inf)
            ended = (ended + ctc_weight * ends).masked_fill(ends < NEVER / 2, -math.inf)
        for utt, row, score in zip(utts.tolist(), ids, ended.tolist(), strict=True):
            if length <= frames[utt] and score > -math.inf:
                finished[utt] = _ranked([*finished[utt], Hypothesis(row, score)], limits.nbest)
        kept = _best_per_utterance(totals, utts, limits.beam)  # indices into the (N, P) table
        kept = kept[totals.flatten()[kept] > -math.inf]
        best_running = _running(totals.flatten()[kept], utts[kept // P])
        kept = _drop_hopeless(kept, utts[kept // P], best_running, finished, frames, length + 1, limits)
        if not len(kept):
            break
        rows = kept // P
        classes = candidates.flatten()[kept]
        ids = [[*ids[row], unit + 1] for row, unit in zip(rows.tolist(), classes.tolist(), strict=True)]
        utts, local = utts[rows], grown.flatten()[kept]
        states = [item.scorer.select(state, rows) for item, state in zip(scorers, states, strict=True)]
        if ctc is not None and ctc_state is not None:
            prefix = prefixes.flatten()[kept]
            ctc_state = ctc.extend(ctc_state.select(rows), last[rows], utts, classes + 1, prefix)
    return finished


def _ranked(hypotheses: list[Hypothesis], nbest: int) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda hypothesis: (-hypothesis.score, hypothesis.ids))[:nbest]


def _preselect(scores: torch.Tensor, beam: int, end: int) -> torch.Tensor:
    """(N, P) classes worth CTC's time, the end not among them, in a fixed order."""
    count = min(end, int(PRESELECT * beam) + 1)
    order = scores[:, :end].sort(dim=1, descending=True, stable=True).indices[:, :count]
    return order.sort(dim=1).values


def _best_per_utterance(totals: torch.Tensor, utts: torch.Tensor, beam: int) -> torch.Tensor:
    """Flat indices of each utterance's ``beam`` best candidates, by utterance, then as in the table."""
    P = totals.shape[1]
    flat, owner = totals.flatten(), utts.repeat_interleave(P)
    order = flat.sort(descending=True, stable=True).indices
    order = order[owner[order].sort(stable=True).indices]  # by utterance, best first within each
    counts = torch.bincount(owner)
    starts = counts.cumsum(0) - counts
    rank = torch.arange(len(order), device=order.device) - starts[owner[order]]
    return order[rank < beam].sort().values


def _running(scores: torch.Tensor, utts: torch.Tensor) -> dict[int, float]:
    """The best score of the candidates of every utterance."""
    best: dict[int, float] = {}
    for utt, score in zip(utts.tolist(), scores.tolist(), strict=True):
        best[utt] = max(score, best.get(utt, score))
    return best


def _drop_hopeless(
    kept: torch.Tensor,
    utts: torch.Tensor,
    best_running: dict[int, float],
    finished: list[list[Hypothesis]],
    frames: list[int],
    length: int,
    limits: Limits,
) -> torch.Tensor:
    """The candidates of utterances that go on."""
    going = []
    for utt, running in best_running.items():
        room = frames[utt] - length
        ranked = finished[utt]
        # The most that the rest of a hypothesis can add is the bonus of the units it may still get.
        beaten = (
            len(ranked) == limits.nbest and running + max(0.0, limits.length_bonus) * room <= ranked[-1].score
        )
        far = bool(ranked) and running < ranked[0].score - limits.end_margin
        if room >= 0 and not beaten and not far:
            going.append(utt)
    return kept[torch.isin(utts, torch.tensor(going, dtype=utts.dtype, device=utts.device))]

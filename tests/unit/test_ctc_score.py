"""CTC's prefix scores equal the sum over all alignments."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.decode.ctc_score import CtcScorer


def sequences(log_probs):
    T, C = log_probs.shape
    found = {}
    for path in itertools.product(range(C), repeat=T):
        ids = tuple(unit for unit, _ in itertools.groupby(path) if unit)
        score = sum(float(log_probs[t, unit]) for t, unit in enumerate(path))
        found[ids] = np.logaddexp(found.get(ids, -math.inf), score)
    return found


def scores_of(scorer, utt, ids):
    """(prefix score, end score) of a unit sequence, grown unit by unit."""
    utts = torch.tensor([utt])
    state, last = scorer.initial(utts), torch.tensor([0])
    for unit in ids:
        units = torch.tensor([[1, 2, unit]])
        prefix = scorer.prefixes(state, last, utts, units)[:, 2]
        state = scorer.extend(state, last, utts, units[:, 2], prefix)
        last = torch.tensor([unit])
    return float(state.prefix), float(scorer.end(state, utts))


@given(st.integers(0, 10_000), st.sampled_from([0.5, 1.0, 6.0]))
@settings(max_examples=15, deadline=None)
def test_prefix_and_end_scores_equal_brute_force_in_a_padded_batch(seed, sharpness):
    torch.manual_seed(seed)
    lens = torch.tensor([5, 3])
    log_probs = (torch.randn(2, 7, 3, dtype=torch.float64) * sharpness).log_softmax(-1)
    scorer = CtcScorer(log_probs, lens)
    for utt, length in enumerate(lens.tolist()):
        want = sequences(log_probs[utt, :length])
        for ids in ((), (1,), (1, 1), (2, 1), (1, 2, 1), (2, 2)):
            begins = [score for other, score in want.items() if other[: len(ids)] == ids]
            prefix, end = scores_of(scorer, utt, ids)
            assert prefix == pytest.approx(np.logaddexp.reduce(begins), abs=1e-9) if ids else prefix == 0
            if ids in want:
                assert end == pytest.approx(want[ids], abs=1e-9)
            else:
                assert end < -1e3


def test_long_and_peaked_utterances_stay_exact():
    """35 s at 40 ms; compared with the recursion frame by frame."""
    torch.manual_seed(0)
    T, ids = 875, [1, 2, 2, 3, 1] * 30
    log_probs = (torch.randn(1, T, 4, dtype=torch.float64) * 20).log_softmax(-1)
    scorer = CtcScorer(log_probs, torch.tensor([T]))
    _, end = scores_of(scorer, 0, ids)
    loss = torch.nn.functional.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor([ids]),
        torch.tensor([T]),
        torch.tensor([len(ids)]),
        reduction="sum",
    )
    assert end == pytest.approx(-float(loss), rel=1e-9)

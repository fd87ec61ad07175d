"""One-pass beam search: a wide beam is exhaustive, a batch equals its utterances one by one."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.decode.beam import Limits, Weighted, beam_search
from speechrep.decode.ctc_score import CtcScorer

C = 4  # blank and three units; classes: three units and the end


class Table:
    """A made-up model: log probabilities depend on the utterance and the last two classes."""

    def __init__(self, seed, utterances, sharpness=1.0):
        generator = torch.Generator().manual_seed(seed)
        table = torch.randn(utterances, C + 1, C + 1, C, generator=generator, dtype=torch.float64)
        self.table = (table * sharpness).log_softmax(-1)

    def initial(self, utts):
        return torch.full_like(utts, C)

    def step(self, state, classes, utts):
        return self.table[utts, state, classes], classes

    def select(self, state, rows):
        return state[rows]

    def score(self, utt, ids):
        before, last, total = C, C - 1, 0.0
        for unit in [*(number - 1 for number in ids), C - 1]:
            total += float(self.table[utt, before, last, unit])
            before, last = last, unit
        return total


def ctc_inputs(seed, lens, sharpness=1.0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(len(lens), max(lens), C, generator=generator, dtype=torch.float64)
    return (logits * sharpness).log_softmax(-1), torch.tensor(lens)


def every_sequence(length):
    for n in range(length + 1):
        yield from itertools.product(range(1, C), repeat=n)


def exhaustive(tables, log_probs, lens, ctc_weight, bonus):
    results = []
    for utt, length in enumerate(lens.tolist()):
        scored = []
        for ids in every_sequence(length):
            loss = torch.nn.functional.ctc_loss(
                log_probs[utt, :length, None], torch.tensor([ids], dtype=torch.int64).view(1, -1),
                torch.tensor([length]), torch.tensor([len(ids)]), reduction="sum",
            ) if ctc_weight else torch.zeros(())  # fmt: skip
            total = sum(weight * table.score(utt, ids) for table, weight in tables)
            scored.append((total - ctc_weight * float(loss) + bonus * len(ids), list(ids)))
        results.append(sorted((pair for pair in scored if pair[0] > -1e8), key=lambda p: (-p[0], p[1])))
    return results


CASES = [
    (0.0, (1.0,), 0.0),
    (1.0, (), 0.0),
    (0.4, (0.6,), 0.0),
    (0.4, (0.6, 0.5), 0.0),
    (0.5, (0.5, 0.3), 0.7),
]


@pytest.mark.parametrize(("ctc_weight", "weights", "bonus"), CASES)
@given(seed=st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_a_wide_beam_equals_exhaustive_search(ctc_weight, weights, bonus, seed):
    log_probs, lens = ctc_inputs(seed, [4, 2])
    tables = [(Table(seed + i, 2), weight) for i, weight in enumerate(weights)]
    want = exhaustive(tables, log_probs, lens, ctc_weight, bonus)
    got = beam_search(
        [Weighted(*pair) for pair in tables], CtcScorer(log_probs, lens) if ctc_weight else None, ctc_weight,
        lens, C, Limits(beam=200, nbest=5, length_bonus=bonus, end_margin=1e9),
    )  # fmt: skip
    for found, ranked in zip(got, want, strict=True):
        ranked = ranked[: len(found)]
        assert [hypothesis.ids for hypothesis in found] == [ids for _, ids in ranked]
        assert [hypothesis.score for hypothesis in found] == pytest.approx([s for s, _ in ranked], abs=1e-8)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_a_batch_equals_its_utterances_one_by_one(seed):
    log_probs, lens = ctc_inputs(seed, [9, 3, 12, 7], sharpness=2.0)
    table, limits = Table(seed, 4), Limits(beam=3, nbest=3, length_bonus=0.2)
    together = beam_search([Weighted(table, 0.5)], CtcScorer(log_probs, lens), 0.5, lens, C, limits)
    for utt, length in enumerate(lens.tolist()):
        single = Table(seed, 4)
        single.table = table.table[utt : utt + 1]
        one = lens[utt : utt + 1]
        scorer = CtcScorer(log_probs[utt : utt + 1, :length], one)
        alone = beam_search([Weighted(single, 0.5)], scorer, 0.5, one, C, limits)[0]
        assert [hypothesis.ids for hypothesis in alone] == [h.ids for h in together[utt]]
        assert [h.score for h in alone] == pytest.approx([h.score for h in together[utt]], abs=1e-8)


def test_what_the_frames_cannot_spell_is_not_found():
    """Two frames: no unit twice, which needs a blank between, whatever room is left."""
    log_probs, lens = ctc_inputs(0, [2])
    want = [ids for _, ids in exhaustive([], log_probs, lens, 1.0, 0.0)[0]]
    (found,) = beam_search([], CtcScorer(log_probs, lens), 1.0, lens, C, Limits(10, nbest=20, end_margin=1e9))
    assert [hypothesis.ids for hypothesis in found] == want and len(want) == 10


class Favourite(Table):
    """Nearly indifferent, but for forty units that the speech does not hold."""

    def __init__(self, num_units):
        logits = torch.zeros(num_units, dtype=torch.float64)
        logits[:40] = 0.1
        self.log_probs = logits.log_softmax(-1)

    def step(self, state, classes, utts):
        return self.log_probs.expand(len(utts), -1), classes


def test_a_language_model_alone_does_not_choose_what_ctc_may_score():
    said, num_units = [101, 102, 103], 200
    log_probs = torch.full((1, 6, num_units), 0.01 / num_units, dtype=torch.float64)
    for frame, unit in enumerate([0, 101, 0, 102, 0, 103]):
        log_probs[0, frame, unit] = 0.99
    log_probs, lens = log_probs.log(), torch.tensor([6])
    for weight in (1e-6, 0.1):
        scorers = [Weighted(Favourite(num_units), weight, heard=False)]
        (found,) = beam_search(scorers, CtcScorer(log_probs, lens), 1.0, lens, num_units, Limits(beam=4))
        assert found[0].ids == said


class Chatter(Table):
    """Never wants to end."""

    def __init__(self):
        super().__init__(0, 1)
        self.table[..., C - 1] = -1e3


def test_it_ends_although_the_model_never_does():
    lens = torch.tensor([20])
    found = beam_search([Weighted(Chatter(), 1.0)], None, 0.0, lens, C, Limits(2, 1, length_bonus=50.0))
    assert len(found[0]) == 1 and len(found[0][0].ids) <= 20


def test_what_the_bonus_will_still_lift_goes_on():
    """The first unit costs more than its bonus, so the empty sentence leads until there are enough."""
    table, lens = Table(0, 1), torch.tensor([12])
    table.table[:] = 0.0
    table.table[:, C, C - 1, : C - 1] = -5.0
    (found,) = beam_search([Weighted(table, 1.0)], None, 0.0, lens, C, Limits(3, length_bonus=1.0))
    assert len(found[0].ids) == 12 and found[0].score == pytest.approx(12 - 5)


def test_equal_scores_always_come_in_the_same_order():
    table = Table(0, 1)
    table.table[:] = -1.0
    results = [
        beam_search([Weighted(table, 1.0)], None, 0.0, torch.tensor([5]), C, Limits(4, 4)) for _ in range(2)
    ]
    assert results[0] == results[1]
    assert [h.ids for h in results[0][0]] == [[], [1], [2], [3]]

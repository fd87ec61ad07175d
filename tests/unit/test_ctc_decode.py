"""CTC decoding against the sum over all alignments."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.decode.ctc_prefix_beam import prefix_beam
from speechrep.decode.greedy import greedy


def collapse(path):
    return tuple(unit for unit, _ in itertools.groupby(path) if unit)


def all_sequences(log_probs):
    """Log probability of every unit sequence, by enumerating every alignment."""
    T, C = log_probs.shape
    found = {}
    for path in itertools.product(range(C), repeat=T):
        score = sum(log_probs[t, unit] for t, unit in enumerate(path))
        found[collapse(path)] = np.logaddexp(found.get(collapse(path), -math.inf), score)
    return found


def random_log_probs(seed, T, C, sharpness=1.0):
    logits = np.random.default_rng(seed).normal(size=(T, C)) * sharpness
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(2, 4), st.sampled_from([0.3, 1.0, 4.0]))
@settings(max_examples=40, deadline=None)
def test_a_wide_beam_finds_every_sequence_with_its_exact_probability(seed, T, C, sharpness):
    log_probs = random_log_probs(seed, T, C, sharpness)
    want = all_sequences(log_probs)
    got = {tuple(h.ids): h.score for h in prefix_beam(log_probs, beam=10_000, nbest=10_000)}
    assert got.keys() == want.keys()
    assert all(got[ids] == pytest.approx(want[ids], abs=1e-9) for ids in want)


@given(st.integers(0, 10_000), st.floats(-2, 2))
@settings(max_examples=20, deadline=None)
def test_the_best_come_first_with_the_length_bonus(seed, bonus):
    log_probs = random_log_probs(seed, 4, 3)
    want = {ids: score + bonus * len(ids) for ids, score in all_sequences(log_probs).items()}
    best = sorted(want, key=lambda ids: -want[ids])[:3]
    assert [tuple(h.ids) for h in prefix_beam(log_probs, 10_000, 3, bonus)] == best


def literal_search(log_probs, beam, bonus):
    """Prefix by prefix: of each the log probabilities of ending in blank and in its last unit."""
    never = -math.inf
    kept = {(): np.array([0.0, never])}
    for frame in log_probs:
        found = {}
        for ids, (blank, unit) in kept.items():
            either = np.logaddexp(blank, unit)
            steps = [(ids, [either + frame[0], never])]
            for number, log_prob in enumerate(frame[1:], 1):
                is_repeat = ids[-1:] == (number,)
                if is_repeat:
                    steps.append((ids, [never, unit + log_prob]))
                steps.append(((*ids, number), [never, (blank if is_repeat else either) + log_prob]))
            for grown, ends in steps:
                found[grown] = np.logaddexp(found.get(grown, [never, never]), ends)
        ranks = {ids: np.logaddexp(*ends) + bonus * len(ids) for ids, ends in found.items()}
        kept = {ids: found[ids] for ids in sorted(found, key=lambda ids: -ranks[ids])[:beam]}
    return [(list(ids), ranks[ids]) for ids in kept]


@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(-2, 2))
@settings(max_examples=25, deadline=None)
def test_a_narrow_beam_keeps_what_the_literal_search_keeps(seed, beam, bonus):
    log_probs = random_log_probs(seed, 9, 4, sharpness=1.5)
    want = literal_search(log_probs, beam, bonus)
    got = prefix_beam(log_probs, beam, beam, bonus)
    assert [h.ids for h in got] == [ids for ids, _ in want]
    assert [h.score for h in got] == pytest.approx([score for _, score in want])


def test_equal_scores_always_in_the_same_order():
    log_probs = np.log(np.full((3, 4), 0.25))
    results = prefix_beam(log_probs, beam=5, nbest=5)
    assert results == prefix_beam(log_probs.copy(), beam=5, nbest=5)
    for one, other in itertools.pairwise(results):
        assert (-one.score, one.ids) < (-other.score, other.ids)


def test_a_narrow_beam_of_one_is_never_better_than_a_wide_one():
    log_probs = random_log_probs(5, 30, 6)
    scores = [prefix_beam(log_probs, beam)[0].score for beam in (1, 4, 64)]
    assert scores == sorted(scores)


def test_certain_zero_probabilities_are_no_trouble():
    log_probs = np.array([[-np.inf, 0.0, -np.inf], [0.0, -np.inf, -np.inf], [-np.inf, 0.0, -np.inf]])
    with np.errstate(all="raise", under="ignore"):
        assert [h.ids for h in prefix_beam(log_probs, 8, 8)] == [[1, 1]]


def test_no_frames_give_the_empty_sequence():
    assert [h.ids for h in prefix_beam(np.zeros((0, 4)), 4)] == [[]]


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_greedy_is_the_collapsed_best_path_of_each_utterance(seed):
    generator = np.random.default_rng(seed)
    log_probs = torch.tensor(generator.integers(0, 3, size=(4, 7, 3)).astype(np.float32))  # many ties
    lens = torch.tensor(generator.integers(1, 8, size=4))
    want = [
        list(collapse([row.index(max(row)) for row in utt[:n].tolist()]))
        for utt, n in zip(log_probs, lens, strict=True)
    ]
    assert greedy(log_probs, lens) == want

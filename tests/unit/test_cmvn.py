"""CMVN: Kaldi's formulas, and what must not happen."""

from pathlib import Path

import numpy as np
import pytest

from speechrep.errors import InputError
from speechrep.frontend.cmvn import Cmvn, normalise, statistics
from speechrep.io.ark import write_ark


def apply_cmvn(feats: np.ndarray, stats: np.ndarray, norm_vars: bool) -> np.ndarray:
    """Kaldi's ApplyCmvn, value by value."""
    out = np.array(feats, np.float64)
    count = stats[0, -1]
    for dim in range(feats.shape[1]):
        mean, scale = stats[0, dim] / count, 1.0
        if norm_vars:
            scale = 1.0 / np.sqrt(max(stats[1, dim] / count - mean * mean, 1e-20))
        out[:, dim] = out[:, dim] * scale - mean * scale
    return out


@pytest.mark.parametrize("norm_vars", [False, True])
def test_agrees_with_kaldi(norm_vars: bool):
    rng = np.random.default_rng(0)
    feats = (rng.normal(size=(300, 20)) * rng.uniform(0.01, 9, 20) + rng.normal(0, 10, 20)).astype(np.float32)
    stats = statistics(feats)
    assert stats.shape == (2, 21)
    assert stats[0, -1] == 300
    assert stats[1, -1] == 0
    read = normalise(feats, stats, norm_vars)
    assert read.dtype == np.float32
    np.testing.assert_allclose(read, apply_cmvn(feats, stats, norm_vars), atol=2e-5)


def test_a_constant_becomes_zero():
    feats = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    feats[:, 1] = -15.942385
    assert np.all(normalise(feats, statistics(feats), True)[:, 1] == 0)
    assert np.all(normalise(feats[:1], statistics(feats[:1]), True) == 0)


def test_a_small_deviation_is_kept():
    feats = (1e-4 * np.random.default_rng(0).normal(size=(500, 4))).astype(np.float32)
    np.testing.assert_allclose(normalise(feats, statistics(feats), True).std(axis=0), 1, atol=1e-5)


def test_errors(tmp_path: Path):
    feats = np.ones((4, 3), np.float32)
    with pytest.raises(InputError, match=r"0\.0 frames"):
        normalise(feats, np.zeros((2, 4)), True)
    with pytest.raises(InputError, match="for 3 features"):
        normalise(feats, np.zeros((2, 5)), True)
    with pytest.raises(InputError, match="CMVN over 'word'"):
        Cmvn(tmp_path, "word", True)
    write_ark(tmp_path / "cmvn.ark", [("a", statistics(feats))], tmp_path / "cmvn.scp")
    cmvn = Cmvn(tmp_path, "utterance", True)
    assert np.all(cmvn.apply("a", feats) == 0)
    with pytest.raises(InputError, match=r"cmvn\.scp: no CMVN statistics for utterance 'b'"):
        cmvn.apply("b", feats)
    with pytest.raises(InputError, match=r"cmvn\.ark: CMVN statistics of shape \(2, 4\) for 2 features"):
        cmvn.apply("a", np.ones((4, 2), np.float32))


def test_an_utterance_without_a_speaker_is_told_at_once(tmp_path: Path):
    feats = np.ones((4, 3), np.float32)
    write_ark(tmp_path / "cmvn.ark", [("s", statistics(feats))], tmp_path / "cmvn.scp")
    (tmp_path / "utt2spk").write_text("a s\n")
    with pytest.raises(InputError, match="no CMVN statistics for speaker ''"):
        Cmvn(tmp_path, "speaker", True).apply("b", feats)

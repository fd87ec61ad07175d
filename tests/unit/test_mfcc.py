"""Kaldi's MFCC against kaldi-native-fbank, and deltas by both conventions."""

import kaldi_native_fbank as knf
import numpy as np
import pytest

from speechrep.errors import InputError
from speechrep.frontend.deltas import add_deltas
from speechrep.frontend.registry import make_frontend

RATE = 16000


def signal() -> np.ndarray:
    noise = 0.1 * np.random.default_rng(0).standard_normal(RATE) + 0.2 * np.sin(np.arange(RATE) * 0.3)
    return (np.round(noise * 32768) / 32768).astype(np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_energy": False},
        {"use_energy": False, "htk_compat": True},
        {"htk_compat": True},
        {"num_ceps": 20, "num_mel_bins": 40, "cepstral_lifter": 0.0},
        {"num_ceps": 40, "num_mel_bins": 40, "use_energy": False, "low_freq": 20.0, "high_freq": -400.0},
        {"raw_energy": False, "snip_edges": False, "window_type": "hamming"},
    ],
    ids=str,
)
def test_agrees_with_kaldi_native_fbank(options: dict):
    theirs = knf.MfccOptions()
    theirs.frame_opts.dither = 0
    for name, value in options.items():
        name = {"num_mel_bins": "num_bins"}.get(name, name)
        part = next(p for p in (theirs.frame_opts, theirs.mel_opts, theirs) if hasattr(p, name))
        setattr(part, name, value)
    computer = knf.OnlineMfcc(theirs)
    computer.accept_waveform(RATE, (signal() * 32768).tolist())
    computer.input_finished()
    expected = np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])
    ours = make_frontend("mfcc", options)(signal(), RATE)
    assert ours.shape == expected.shape
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_mfcc39():
    frontend = make_frontend("mfcc", {"delta_order": 2})
    feats = frontend(signal(), RATE)
    assert feats.shape == (98, 39)
    assert frontend.dim == 39


def test_kaldi_deltas_value_by_value():
    """Kaldi's DeltaFeatures: one filter per order, applied to the features with the frame index clamped."""
    feats = np.random.default_rng(1).standard_normal((12, 3)).astype(np.float32)
    taps = [np.ones(1)]
    for _ in range(2):
        new = np.zeros(len(taps[-1]) + 4)
        for shift in range(-2, 3):
            for place, value in enumerate(taps[-1]):
                new[place + shift + 2] += shift * value / 10
        taps.append(new)
    expected = np.zeros((12, 9))
    for order, tap in enumerate(taps):
        for t in range(12):
            for offset in range(-(len(tap) // 2), len(tap) // 2 + 1):
                frame = feats[min(max(t + offset, 0), 11)]
                expected[t, 3 * order : 3 * order + 3] += tap[offset + len(tap) // 2] * frame
    np.testing.assert_allclose(add_deltas(feats, 2, 2), expected, atol=1e-5)


def test_chained_deltas():
    """torchaudio's: the delta of the delta, the delta's own edges repeated."""
    feats = np.random.default_rng(1).standard_normal((12, 3)).astype(np.float32)

    def delta(x: np.ndarray) -> np.ndarray:
        p = np.pad(x, ((2, 2), (0, 0)), mode="edge")
        return (2 * (p[4:] - p[:-4]) + p[3:-1] - p[1:-3]) / 10

    chained = add_deltas(feats, 2, 2, chained=True)
    np.testing.assert_allclose(
        chained, np.concatenate([feats, delta(feats), delta(delta(feats))], 1), atol=1e-6
    )
    assert np.abs(chained - add_deltas(feats, 2, 2))[:, 6:].max() > 0.01
    static = make_frontend("mfcc", {})(signal(), RATE)
    found = make_frontend("mfcc", {"delta_order": 2, "delta_chained": True})(signal(), RATE)
    np.testing.assert_array_equal(found, add_deltas(static, 2, 2, chained=True))


def test_errors():
    with pytest.raises(InputError, match="num-ceps is 30, want 1 to num-mel-bins, 23"):
        make_frontend("mfcc", {"num_ceps": 30})

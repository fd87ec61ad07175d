"""Mel and linear spectrograms against librosa, and S3PRL's variants against their definition in torch."""

import librosa
import numpy as np
import pytest
import torch

from speechrep.errors import InputError
from speechrep.frontend.registry import make_frontend

RATE = 16000


def signal(seconds: float = 1.3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    tones = sum(a * np.sin(2 * np.pi * f * t) for a, f in ((0.3, 150), (0.1, 1210), (0.03, 5003)))
    return ((tones * (1 + np.sin(7 * t)) + 0.003 * rng.standard_normal(len(t))) * 0.4).astype(np.float32)


@pytest.mark.parametrize("padding", ["reflect", "constant"])
@pytest.mark.parametrize("length", [20800, 1801, 3000])
def test_mel160_agrees_with_librosa(padding: str, length: int):
    samples = signal()[:length]
    power = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=2048, hop_length=200, win_length=800, n_mels=80, fmax=8000, pad_mode=padding
    )
    log_mel = np.log(power + 1e-6)
    theirs = np.concatenate([log_mel, librosa.feature.delta(log_mel)]).T
    frontend = make_frontend("mel", {"delta_order": 1, "padding": padding})
    ours = frontend(samples, RATE)
    assert ours.shape == theirs.shape == (1 + length // 200, 160)
    assert (frontend.dim, frontend.frame_shift_ms, frontend.num_frames(length)) == (160, 12.5, len(ours))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({"frame_shift": 10.0, "fft_length": 1024}, {"n_fft": 1024, "hop_length": 160}),
        ({"mel_scale": "htk", "mel_norm": "none"}, {"htk": True, "norm": None}),
        ({"low_freq": 60.0, "high_freq": 7600.0, "log_offset": 1e-10}, {"fmin": 60, "fmax": 7600}),
    ],
    ids=str,
)  # fmt: skip
def test_mel_options_agree_with_librosa(options: dict, theirs: dict):
    settings = {
        "n_fft": 2048,
        "hop_length": 200,
        "win_length": 800,
        "n_mels": 80,
        "pad_mode": "reflect",
    } | theirs
    expected = np.log(
        librosa.feature.melspectrogram(y=signal(), sr=RATE, **settings) + options.get("log_offset", 1e-6)
    )
    np.testing.assert_allclose(make_frontend("mel", options)(signal(), RATE), expected.T, atol=1e-4)


@pytest.mark.parametrize("frame_length", [25.0, 25.05])
def test_windows_of_an_odd_number_of_samples_lie_as_librosas(frame_length: float):
    """At 22.05 kHz 25 ms are 551 samples; 25.05 are 552."""
    options = {
        "sample_frequency": 22050.0,
        "frame_length": frame_length,
        "frame_shift": 10.0,
        "fft_length": 1024,
    }
    theirs = librosa.feature.melspectrogram(
        y=signal(), sr=22050, n_fft=1024, hop_length=220, win_length=round(22.05 * frame_length), n_mels=80,
        pad_mode="reflect",
    )  # fmt: skip
    ours = make_frontend("mel", options)(signal(), 22050)
    np.testing.assert_allclose(ours, np.log(theirs + 1e-6).T, atol=1e-4)


def test_transforms_of_an_odd_length_are_refused():
    with pytest.raises(InputError, match="fft-length is 1023, want an even number"):
        make_frontend("mel", {"fft_length": 1023})


@pytest.mark.parametrize(("fft", "length", "shift"), [(2048, 50.0, 12.5), (400, 25.0, 10.0)])
def test_linear_agrees_with_librosa(fft: int, length: int, shift: float):
    samples = signal()
    emphasised = np.append(samples[0], samples[1:] - 0.97 * samples[:-1])
    spectrum = librosa.stft(
        emphasised.astype(np.float64),
        n_fft=fft,
        hop_length=int(shift * 16),
        win_length=int(length * 16),
        pad_mode="reflect",
    )
    decibels = 20 * np.log10(np.maximum(1e-5, np.abs(spectrum))) - 20
    expected = np.clip((decibels + 100) / 100, 0, 1).T
    options = {
        "fft_length": fft,
        "frame_length": length,
        "frame_shift": shift,
        "preemphasis_coefficient": 0.97,
    }
    frontend = make_frontend("linear", options)
    ours = frontend(samples, RATE)
    assert frontend.dim == ours.shape[1] == fft // 2 + 1
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def s3prl_linear(samples: np.ndarray) -> torch.Tensor:
    """The power spectrogram of S3PRL's OnlinePreprocessor, (201, T)."""
    wav = torch.from_numpy(samples).double()
    wav = wav * (10 ** (-25 / 20) / (wav.pow(2).mean().sqrt() + 1e-10))
    window = torch.hann_window(400, dtype=torch.float64)
    return (
        torch.stft(wav, 400, 160, 400, window, center=True, pad_mode="reflect", return_complex=True)
        .abs()
        .square()
    )


@pytest.mark.parametrize("feature", ["mel", "linear"])
def test_s3prl_spectrograms(feature: str):
    samples = signal()
    power = s3prl_linear(samples).numpy()
    options = {
        "frame_length": 25.0, "frame_shift": 10.0, "fft_length": 400, "target_level": -25.0,
        "unit_norm": "sample", "log_offset": 1e-10,
    }  # fmt: skip
    if feature == "mel":
        power = (
            librosa.filters.mel(sr=RATE, n_fft=400, n_mels=80, htk=True, norm=None).astype(np.float64) @ power
        )
        options |= {"mel_scale": "htk", "mel_norm": "none"}
    else:
        options |= {"scale": "log"}
    log = torch.from_numpy(np.log(power + 1e-10))
    expected = (log - log.mean(1, keepdim=True)) / (log.std(1, keepdim=True) + 1e-10)
    difference = np.abs(make_frontend(feature, options)(samples, RATE) - expected.T.numpy())
    assert difference.max() <= 1e-4


def test_edges_and_errors():
    mel = make_frontend("mel", {})
    assert mel(signal()[:1], RATE).shape == (1, 80)  # shorter than half a window: mirrored again and again
    assert mel(signal()[:150], RATE).shape == (1, 80)
    silence = np.zeros(RATE, np.float32)
    assert mel(silence, RATE) == pytest.approx(np.log(1e-6))
    linear = make_frontend("linear", {"scale": "log", "log_offset": 1e-3})
    assert linear(silence, RATE) == pytest.approx(np.log(1e-3))
    with pytest.raises(InputError, match="8 frames are too few for deltas over 9"):
        make_frontend("mel", {"delta_order": 1})(signal()[:1500], RATE)
    with pytest.raises(InputError, match="0 samples are too few"):
        mel(signal()[:0], RATE)
    with pytest.raises(InputError, match="one frame cannot be normalised"):
        make_frontend("mel", {"unit_norm": "sample"})(signal()[:150], RATE)
    with pytest.raises(InputError, match="transform of 512"):
        make_frontend("mel", {"fft_length": 512})
    with pytest.raises(InputError, match=r"mel bins from 0\.0 to 9000"):
        make_frontend("mel", {"high_freq": 9000.0})


def test_weak_bands_beside_loud_ones_agree_with_librosa():
    """Where rounding in float32 would show: hardly any energy but at 200 Hz."""
    time = np.arange(2 * RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(len(time))
    samples = (0.5 * np.sin(2 * np.pi * 200 * time) + 3e-5 * noise).astype(np.float32)
    settings = {"n_fft": 2048, "hop_length": 200, "win_length": 800, "n_mels": 80, "pad_mode": "reflect"}
    power = librosa.feature.melspectrogram(y=samples.astype(np.float64), sr=RATE, **settings)
    ours = make_frontend("mel", {"log_offset": 1e-10})(samples, RATE)
    np.testing.assert_allclose(ours, np.log(power + 1e-10).T, atol=1e-4)

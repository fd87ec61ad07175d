"""Kaldi's filter banks: golden vectors, and kaldi-native-fbank as the oracle for every option."""

import kaldi_native_fbank as knf
import numpy as np
import pytest

from speechrep.errors import InputError
from speechrep.frontend.fbank import FbankConfig
from speechrep.frontend.kaldi import mel_filters
from speechrep.frontend.registry import make_frontend

RATE = 16000


def fbank(**options: object):
    return make_frontend("fbank", options)


def golden_signal() -> np.ndarray:
    t = np.arange(RATE)
    tones = 8000 * np.sin(2 * np.pi * 440 * t / RATE) + 2000 * np.sin(2 * np.pi * 3000 * t / RATE)
    return (np.round(tones) / 32768).astype(np.float32)


@pytest.mark.parametrize(
    ("options", "shape", "dims", "values", "mean"),
    [
        (
            {"num_mel_bins": 80},
            (98, 80), (0, 1, 2, 10, 79), (7.8039, 8.4122, 7.8419, 14.7858, 6.4842), 9.0569,
        ),
        (
            {"num_mel_bins": 40},
            (98, 40), (0, 1, 2, 10, 39), (8.8551, 8.5723, 11.0192, 11.9688, 6.4954), 10.2948,
        ),
        (
            {"num_mel_bins": 80, "high_freq": -400.0, "snip_edges": False},
            (100, 80), (0, 1, 2, 10, 79), (14.8101, 15.4239, 15.6674, 19.4336, 13.8411), 9.2235,
        ),
        (
            {"snip_edges": False},
            (100, 23), (0, 1, 2, 10, 22), (17.2035, 18.7077, 20.7754, 16.8256, 15.7295), 11.7309,
        ),
    ],
)  # fmt: skip
def test_golden_vectors(options: dict, shape: tuple, dims: tuple, values: tuple, mean: float):
    feats = fbank(**options)(golden_signal(), RATE)
    assert feats.shape == shape
    assert feats.dtype == np.float32
    np.testing.assert_allclose(feats[0, list(dims)], values, atol=1e-3)
    assert feats.mean() == pytest.approx(mean, abs=1e-3)
    if options.get("high_freq"):
        np.testing.assert_allclose(feats[50, [0, 10, 79]], [8.3303, 14.5389, 5.3648], atol=1e-3)


def oracle(samples: np.ndarray, **options: object) -> np.ndarray:
    """kaldi-native-fbank, with options under our names."""
    names = {
        "sample_frequency": "samp_freq", "frame_length": "frame_length_ms", "frame_shift": "frame_shift_ms",
        "preemphasis_coefficient": "preemph_coeff", "num_mel_bins": "num_bins",
    }  # fmt: skip
    theirs = knf.FbankOptions()
    theirs.frame_opts.dither = 0
    theirs.energy_floor = 0
    for name, value in options.items():
        name = names.get(name, name)
        part = next(p for p in (theirs.frame_opts, theirs.mel_opts, theirs) if hasattr(p, name))
        setattr(part, name, value)
    computer = knf.OnlineFbank(theirs)
    rate = options.get("sample_frequency", RATE)
    computer.accept_waveform(rate, (samples * 32768).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


@pytest.mark.parametrize(
    "options",
    [
        {"num_mel_bins": 80},
        {"num_mel_bins": 80, "snip_edges": False},
        {"num_mel_bins": 40, "use_energy": True},
        {"num_mel_bins": 40, "use_energy": True, "raw_energy": False},
        {"num_mel_bins": 40, "use_energy": True, "htk_compat": True},
        {"num_mel_bins": 40, "use_energy": True, "energy_floor": 1e11},
        {"window_type": "hamming"},
        {"window_type": "hanning"},
        {"window_type": "rectangular"},
        {"window_type": "blackman"},
        {"window_type": "blackman", "blackman_coeff": 0.3},
        {"window_type": "sine"},
        {"remove_dc_offset": False, "preemphasis_coefficient": 0.0},
        {"use_power": False},
        {"use_log_fbank": False},
        {"round_to_power_of_two": False},
        {"frame_length": 32.0, "frame_shift": 12.5},
        {"sample_frequency": 8000.0, "num_mel_bins": 40, "high_freq": -200.0, "low_freq": 60.0},
    ],
    ids=str,
)
def test_agrees_with_kaldi_native_fbank(options: dict):
    # Noise with a tone and an offset; the quietest bin is far enough above float32's noise for 1e-3 to hold.
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(RATE) + 0.2 * np.sin(np.arange(RATE) * 0.3) + 0.05
    samples = (np.round(noise * 32768) / 32768).astype(np.float32)
    ours = fbank(**options)(samples, int(options.get("sample_frequency", RATE)))
    theirs = oracle(samples, **options)
    assert ours.shape == theirs.shape
    scale = 1 if options.get("use_log_fbank", True) else theirs.max()
    assert np.abs(ours - theirs).max() / scale <= 1e-3


def test_agrees_on_real_speech(shared_data):
    from speechrep.io.audio import read_audio

    files = sorted((shared_data / "librispeech-real").glob("**/*.flac"))[:10]
    differences = []
    for path in files:
        samples, rate = read_audio(path)
        differences.append(
            np.abs(fbank(num_mel_bins=80)(samples, rate) - oracle(samples, num_mel_bins=80)).ravel()
        )
    differences = np.concatenate(differences)
    # A bin 20 nats below its frame's peak is rounding noise in both: one value in 10^5 is allowed more.
    assert np.quantile(differences, 0.99999) <= 2e-3
    assert np.quantile(differences, 0.9999) <= 1e-3
    assert differences.mean() <= 1e-5


@pytest.mark.parametrize(
    ("samples", "snip", "mirrored"), [(399, 0, 2), (400, 1, 3), (559, 1, 3), (560, 2, 4)]
)
def test_frame_counts(samples: int, snip: int, mirrored: int):
    for snip_edges, frames in ((True, snip), (False, mirrored)):
        frontend = fbank(snip_edges=snip_edges)
        assert frontend.num_frames(samples) == frames
        if frames:
            assert frontend(golden_signal()[:samples], RATE).shape == (frames, 23)


def test_scale_shifts_by_a_constant():
    difference = fbank()(golden_signal(), RATE) - fbank(sample_scale=1.0)(golden_signal(), RATE)
    clipped = fbank(sample_scale=1.0)(golden_signal(), RATE) <= np.log(1.2e-7)
    np.testing.assert_allclose(difference[~clipped], 2 * np.log(32768), atol=1e-2)


def test_dither_is_the_same_every_time():
    ditherer = fbank(dither=1.0)
    np.testing.assert_array_equal(ditherer(golden_signal(), RATE), ditherer(golden_signal(), RATE))
    assert np.abs(ditherer(golden_signal(), RATE) - fbank()(golden_signal(), RATE)).max() > 0.01


def test_dither_is_as_strong_as_told():
    """Of silence there is nothing else."""
    silence = np.zeros(RATE, np.float32)
    weak, strong = (fbank(dither=d, use_energy=True)(silence, RATE)[:, 0] for d in (1.0, 10.0))
    np.testing.assert_allclose(strong - weak, 2 * np.log(10), atol=1e-3)


@pytest.mark.parametrize("warp", [0.85, 1.0, 1.15])
def test_warped_filters_are_those_of_kaldi_native_fbank(warp: float):
    theirs = knf.FbankOptions()
    filters = knf.MelBanks(theirs.mel_opts, theirs.frame_opts, warp).get_matrix()
    ours = mel_filters(FbankConfig(vtln_warp=warp))
    np.testing.assert_allclose(ours, np.array(filters)[:, : len(ours)].T, atol=1e-4)


def test_vtln_moves_the_filters_and_keeps_the_ends():
    plain, warped = (mel_filters(FbankConfig(vtln_warp=warp)) for warp in (1.0, 1.1))
    assert plain.shape == warped.shape
    centre = [np.average(np.arange(256), weights=f[:, 10]) for f in (plain, warped)]
    assert centre[1] == pytest.approx(centre[0] / 1.1, rel=0.01)  # a factor above 1 moves them down
    assert np.flatnonzero(plain[:, -1])[-1] == np.flatnonzero(warped[:, -1])[-1]


def test_subtract_mean_and_deltas():
    assert np.abs(fbank(subtract_mean=True)(golden_signal(), RATE).mean(axis=0)).max() < 1e-5
    frontend = fbank(num_mel_bins=80, delta_order=2)
    feats = frontend(golden_signal(), RATE)
    assert feats.shape == (98, 240)
    assert frontend.dim == 240
    static, delta = feats[:, :80], feats[:, 80:160]
    expected = (2 * (static[4:] - static[:-4]) + (static[3:-1] - static[1:-3])) / 10
    np.testing.assert_allclose(delta[2:-2], expected, atol=1e-4)


def test_errors():
    with pytest.raises(InputError, match="the sample rate is 8000 Hz, want 16000"):
        fbank()(golden_signal(), 8000)
    assert len(fbank(allow_upsample=True)(golden_signal(), 8000)) == 198
    with pytest.raises(InputError, match="100 samples are too few"):
        fbank()(golden_signal()[:100], RATE)
    with pytest.raises(InputError, match="holds no Fourier bin"):
        fbank(num_mel_bins=300)
    with pytest.raises(InputError, match="mel bins from 20"):
        fbank(high_freq=9000.0)
    with pytest.raises(InputError, match="too short"):
        fbank(frame_shift=0.0)
    with pytest.raises(InputError, match="unknown key 'colour'"):
        fbank(colour=1)
    with pytest.raises(InputError, match="no front end 'kaldi'"):
        make_frontend("kaldi", {})

"""From samples to vectors: whole or in pieces, and what is not a recording is refused."""

import json

import numpy as np
import pytest
import soundfile
import torch
from models import model

import speechrep
from speechrep.bin.pretrain import main
from speechrep.errors import InputError
from speechrep.frontend.cmvn import normalise, statistics
from speechrep.frontend.registry import make_frontend
from speechrep.io.ark import write_ark
from speechrep.io.feature_meta import FeatureMeta, write_meta
from speechrep.io.kaldi_object import to_binary
from speechrep.upstream import waveform
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import build
from speechrep.upstream.waveform import LongFeatures, features, open_samples
from tests.peak_memory import measured

RATE = 16000


def fbank_meta(**changes):
    values = {"feature": "fbank", "config": {"num_mel_bins": 23}, "dim": 23, "frame_shift_ms": 10.0}
    return FeatureMeta(**(values | {"sample_rate": RATE, "cmvn": "utterance"} | changes))


def small(name, downsample=1, **changes):
    options = {"surface": {"context": 3}, "apc": {}, "mockingjay": {"downsample": downsample}}
    config = model(name, **options[name]).config
    torch.manual_seed(0)
    return build(name, config, fbank_meta(**changes)).eval().requires_grad_(False)


def noise(seconds=2.0, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def test_extract_is_front_end_normalisation_and_model(tmp_path):
    upstream, samples = small("apc"), noise()
    feats = make_frontend("fbank", {"num_mel_bins": 23})(samples, RATE)
    feats = torch.from_numpy(normalise(feats, statistics(feats), True))[None]
    output = upstream.extract(samples, RATE)
    assert output.hidden_lens.tolist() == [198]
    assert torch.equal(output.hiddens[-1], upstream(feats).hiddens[-1])
    soundfile.write(tmp_path / "a.flac", samples, RATE, subtype="PCM_24")
    torch.testing.assert_close(
        upstream.extract_file(tmp_path / "a.flac").hiddens, output.hiddens, rtol=0, atol=1e-3
    )


@pytest.mark.parametrize("name", ["apc", "surface"])
def test_streamed_is_exact_where_the_context_is_limited(name):
    upstream, samples = small(name), noise()
    pieces = list(upstream.stream(samples, RATE, window=30, margin=5))
    assert [int(piece.hidden_lens) for piece in pieces] == [30] * 6 + [18]
    whole = upstream.extract(samples, RATE).hiddens
    for layer, hidden in enumerate(whole):
        torch.testing.assert_close(torch.cat([piece.hiddens[layer] for piece in pieces], 1), hidden)


def test_pieces_of_a_stream_let_go_of_those_before():
    """A model in training would hold a whole recording otherwise."""
    upstream = small("apc").requires_grad_(True)
    first, second, *_ = upstream.stream(noise(), RATE, window=30)
    second.hiddens[-1].sum().backward()
    first.hiddens[-1].sum().backward()  # its graph is its own, and there still


def test_streamed_in_windows():
    upstream = small("mockingjay", downsample=3)
    samples = noise()
    whole = upstream.extract(samples, RATE).hiddens[-1]
    pieces = [piece.hiddens[-1] for piece in upstream.stream(samples, RATE, window=50, margin=20)]
    assert torch.cat(pieces, 1).shape == whole.shape == (1, 66, 8)
    together = [piece.hiddens[-1] for piece in upstream.stream(samples, RATE, window=300)]
    assert torch.equal(together[0], whole)  # one window is the whole


LONG = {
    "fbank": {"num_mel_bins": 23},
    "fbank of centred frames": {"num_mel_bins": 23, "snip_edges": False},
    "fbank with deltas": {"num_mel_bins": 10, "delta_order": 2},
    "mfcc": {"num_mel_bins": 23, "delta_order": 2},
    "mel": {"delta_order": 1, "preemphasis_coefficient": 0.97},
    "linear": {"fft_length": 400, "frame_length": 25.0, "frame_shift": 10.0},
    "mel of a level": {"target_level": -25.0},
}


@pytest.mark.parametrize("cmvn", ["none", "utterance"])
@pytest.mark.parametrize("name", LONG)
def test_features_of_a_long_recording_are_those_of_the_whole(name, cmvn, monkeypatch):
    monkeypatch.setattr(waveform, "PIECE", 37)
    feature, samples = name.split()[0], noise(1.53)
    frontend = make_frontend(feature, LONG[name])
    meta = FeatureMeta(feature, LONG[name], frontend.dim, frontend.frame_shift_ms, RATE, cmvn)
    whole = features(samples, RATE, meta, None, "x")
    long = LongFeatures(open_samples(samples), len(samples), RATE, meta, None, "x")
    assert long.num_frames == len(whole)
    for start, stop in [(0, 1), (0, len(whole)), (40, 77), (len(whole) - 3, len(whole)), (90, 10**6)]:
        np.testing.assert_allclose(long.read(start, stop), whole[start:stop], atol=2e-4)


def test_a_file_streams_as_its_samples(tmp_path):
    samples = noise(3)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    upstream = small("apc")
    whole = upstream.extract_file(tmp_path / "a.wav").hiddens[-1]
    pieces = [piece.hiddens[-1] for piece in upstream.stream_file(tmp_path / "a.wav", window=70)]
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-5)


MEMORY = """
import sys
import speechrep
model = speechrep.load(sys.argv[1])
print(sum(int(piece.hidden_lens) for piece in model.stream_file(sys.argv[2])))
"""


@pytest.mark.parametrize(("name", "longest"), [("apc", 60), ("mockingjay", 20)])
def test_an_hour_takes_no_more_memory_than_five_minutes(tmp_path, name, longest):
    save_model(tmp_path / "exp", small(name))
    block = (noise(60) * 32767).astype(np.int16)
    used = {}
    for minutes in (5, longest):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
            for _ in range(minutes):
                file.write(block)
        frames, used[minutes] = measured(MEMORY, tmp_path / "exp", path)
        assert int(frames) == minutes * 6000 - 2
    assert used[longest] < used[5] + 20, used  # MB; an hour's samples have 230, its features 33


@pytest.mark.parametrize(
    ("samples", "rate", "complaint"),
    [
        (np.zeros(0, np.float32), RATE, "no samples"),
        (np.full(RATE, np.nan, np.float32), RATE, "sample 0 is not finite"),
        (np.zeros((RATE, 2), np.float32), RATE, "one channel"),
        (np.zeros(RATE, np.int16), RATE, "float"),
        (np.zeros(100, np.float32), RATE, "too few"),
        (np.zeros(RATE, np.float32), 8000, "8000 Hz, want 16000"),
    ],
)
def test_bad_samples(samples, rate, complaint):
    with pytest.raises(InputError, match=complaint):
        small("apc").extract(samples, rate)
    with pytest.raises(InputError, match=complaint):
        next(small("apc").stream(samples, rate))


def test_too_few_frames_for_a_vector_are_told():
    with pytest.raises(InputError, match="2 frames give no vector, which joins 3"):
        small("mockingjay", downsample=3).extract(noise(0.04), RATE)
    with pytest.raises(InputError, match="2 frames give no vector, which joins 3"):
        next(small("mockingjay", downsample=3).stream(noise(0.04), RATE))


def test_stereo_and_foreign_features_are_told(tmp_path):
    soundfile.write(tmp_path / "two.wav", np.zeros((RATE, 2)), RATE)
    for call in (small("apc").extract_file, lambda path: next(small("apc").stream_file(path))):
        with pytest.raises(InputError, match=r"two\.wav: has 2 channels"):
            call(tmp_path / "two.wav")
    left, right = noise(0.5), noise(0.5)[::-1]
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), RATE, subtype="FLOAT")
    whole = small("apc").extract(right, RATE).hiddens[-1]
    assert torch.equal(small("apc").extract_file(tmp_path / "two.wav", channel=1).hiddens[-1], whole)
    [piece] = small("apc").stream_file(tmp_path / "two.wav", channel=1)
    torch.testing.assert_close(piece.hiddens[-1], whole)
    with pytest.raises(InputError, match="kaldi"):
        small("apc", feature="kaldi").extract(noise(), RATE)


def test_a_file_within_an_archive_is_read_whole_but_not_streamed(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(), RATE)
    (tmp_path / "wav.ark").write_bytes(b"a " + (tmp_path / "a.wav").read_bytes())
    place, upstream = f"{tmp_path}/wav.ark:2", small("apc")
    assert upstream.extract_file(place).hidden_lens > 0
    with pytest.raises(InputError, match=r"wav\.ark:2: cannot be read piece by piece"):
        next(upstream.stream_file(place))


def test_files_that_hold_no_speech_are_told(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", np.zeros(99), RATE)
    soundfile.write(tmp_path / "slow.wav", np.zeros(RATE), 8000)
    (tmp_path / "text.wav").write_text("hello")
    told = {"empty": "no samples", "nan": "NaN", "short": "too few", "slow": "8000 Hz",
            "text": "not readable", "absent": "no such file"}  # fmt: skip
    upstream = small("apc")
    for name, message in told.items():
        for call in (upstream.extract_file, lambda path: next(upstream.stream_file(path))):
            with pytest.raises(InputError, match=rf"{name}\.wav: .*{message}"):
                call(tmp_path / f"{name}.wav")


def test_global_statistics_travel_with_the_model(tmp_path):
    with pytest.raises(InputError, match="global"):
        small("apc", cmvn="global").extract(noise(), RATE)
    # the smallest feature directory with global statistics
    frontend = make_frontend("fbank", {"num_mel_bins": 23})
    feats = {f"utt{i}": frontend(noise(1, seed=i), RATE) for i in range(3)}
    write_ark(tmp_path / "feats.ark", feats.items(), scp=tmp_path / "feats.scp")
    stats = sum(statistics(value) for value in feats.values())
    (tmp_path / "cmvn.ark").write_bytes(to_binary(stats))
    write_meta(tmp_path / "features.json", fbank_meta(cmvn="global"))
    main(["--upstream", "apc", "--hidden-size", "4", "--max-steps", "0", "--exp-dir", str(tmp_path / "exp"),
          "--train-dir", str(tmp_path), "--valid-dir", str(tmp_path)])  # fmt: skip
    upstream = speechrep.load(tmp_path / "exp")
    np.testing.assert_allclose(upstream.cmvn_stats, stats)
    assert json.loads((tmp_path / "exp/model.json").read_text())["input"]["cmvn"] == "global"
    assert upstream.extract(noise(), RATE).hiddens[-1].shape == (1, 198, 4)

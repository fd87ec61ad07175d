"""Pictures: the right values on the right axes, files that are whole, and what is refused."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import soundfile
import torch

from speechrep.bin import plot
from speechrep.data.features import open_features
from speechrep.data.frame_labels import frame_times_s
from speechrep.downstream.layer_sum import learned_weights
from speechrep.errors import InputError
from speechrep.frontend.registry import FRONTENDS, make_frontend
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.model_files import write_model
from speechrep.io.store import StoreWriter
from speechrep.report import attention, board, curves, embedding, scales, spectrogram, style
from speechrep.report.utterance import Utterance, read_utterance
from speechrep.upstream.checkpoint import load, save_model
from speechrep.upstream.registry import CONFIGS, build
from speechrep.upstream.represented import represented_meta
from tests.unit.models import model as small_model

PNG = b"\x89PNG\r\n\x1a\n"
RATE = 16000


def size_of(path) -> tuple[int, int]:
    content = path.read_bytes()
    assert content.startswith(PNG) and content.endswith(b"IEND\xaeB`\x82")
    return struct.unpack(">II", content[16:24])


def front_end_meta(name: str, **options) -> FeatureMeta:
    frontend = make_frontend(name, options)
    config = {field: getattr(frontend.config, field) for field in FRONTENDS[name][0].__dataclass_fields__}
    return FeatureMeta(name, config, frontend.dim, frontend.frame_shift_ms, frontend.sample_rate, "utterance")


def utterance(T: int = 50, F: int = 6) -> Utterance:
    rng = np.random.default_rng(1)
    return Utterance("u1", rng.normal(size=(T, F)).astype(np.float32), 0.0125 + 0.01 * np.arange(T))


@pytest.fixture
def exp(tmp_path):
    save_model(tmp_path / "mockingjay", small_model("mockingjay", downsample=2))
    save_model(tmp_path / "apc", small_model("apc"))
    model = small_model("apc")
    with StoreWriter(tmp_path / "feats.h5", model.meta, ["u1", "u2", "u3"], [60, 75, 60]) as store:
        for i, length in enumerate([60, 75, 60]):
            store.write(f"u{i + 1}", np.random.default_rng(i).normal(size=(length, 6)).astype(np.float32))
    return tmp_path


def plotted(exp, what: str, *more: str, name: str = "mockingjay", data: str = "feats.h5"):
    words = ["--exp-dir", str(exp / name), "--what", what, "--out-dir", str(exp / "out"), *more]
    plot.main([*words, *(["--data", str(exp / data)] if data else [])])
    return sorted(exp.glob("out/*"))


def refused(exp, what: str, *more: str, **where: str) -> str:
    with pytest.raises(InputError) as caught:
        plotted(exp, what, *more, **where)
    assert not list(exp.glob("out/*"))  # nothing half-written
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fbank", {"num_mel_bins": 40}),
        ("fbank", {"num_mel_bins": 40, "high_freq": -400.0, "low_freq": 60.0, "use_energy": True}),
        ("mel", {"num_mel_bins": 40}),
        ("mel", {"num_mel_bins": 40, "mel_scale": "htk", "delta_order": 1}),
        ("linear", {}),
    ],
)
def test_channels_stand_at_the_frequency_of_a_tone(name, options):
    """A tone is loudest in the channel that the axis puts at its frequency."""
    meta = front_end_meta(name, **options)
    shown = scales.channels(meta)
    frontend = make_frontend(name, options)
    assert len(shown.hz) == shown.columns.stop - shown.columns.start
    for hz in (400.0, 1500.0, 5000.0):
        tone = 1e-3 * np.sin(2 * np.pi * hz * np.arange(RATE // 2) / RATE)
        loudest = frontend(tone.astype(np.float32), RATE)[5][shown.columns].argmax()
        assert abs(shown.hz - hz).argmin() == pytest.approx(loudest, abs=1)


def test_unknown_frequencies_are_channels():
    kaldi = FeatureMeta("kaldi", {}, 40, 10.0, RATE)
    warped = front_end_meta("fbank", vtln_warp=1.1)
    for meta in (kaldi, warped, front_end_meta("mfcc")):
        assert scales.channels(meta) == scales.Channels(slice(0, meta.dim), None)
    _, axes = style.figure(1)
    scales.show_frames(
        axes[0, 0], utterance(F=40).feats, utterance().times_s, scales.channels(kaldi), limits=(0, 1)
    )
    assert axes[0, 0].get_ylabel() == "channel"


def test_axes_are_in_seconds_and_hz():
    meta = front_end_meta("fbank", num_mel_bins=80)
    _, axes = style.figure(1)
    frames = utterance(F=80)
    scales.show_frames(axes[0, 0], frames.feats, frames.times_s, scales.channels(meta), limits=(-1, 1))
    assert axes[0, 0].get_ylabel() == "Hz"
    assert [tick.get_text() for tick in axes[0, 0].get_yticklabels()][-3:] == ["1000", "2000", "4000"]
    assert axes[0, 0].get_xlim() == pytest.approx((0.0075, 0.5075))  # from edge to edge of 50 frames


def test_mockingjay_shows_what_was_hidden():
    model = small_model("mockingjay", downsample=2).eval()
    frames = utterance(T=61)
    state = torch.get_rng_state()
    done = spectrogram.reconstruct(model, frames)
    assert torch.equal(torch.get_rng_state(), state)  # a picture must not change a training
    target, masked, made = (panel.feats for panel in done.panels)
    assert len(target) == len(masked) == len(made) == len(done.times_s) == 60  # the odd frame is dropped
    assert done.hidden.any() and not done.hidden.all()
    assert (masked[done.hidden] == 0).all()
    np.testing.assert_array_equal(masked[~done.hidden], target[~done.hidden])
    given = torch.from_numpy(masked)[None]
    want = model.reconstruct(model.hidden_states(given, None)[-1]).detach().reshape(60, 6)
    np.testing.assert_allclose(made, want, atol=1e-6)
    error = done.errors["reconstruction"]
    np.testing.assert_array_equal(np.isnan(error), ~done.hidden)
    np.testing.assert_array_equal(spectrogram.reconstruct(model, frames).panels[1].feats, masked)  # same seed


def test_apc_shows_prediction_at_the_time_it_is_of():
    model, frames = small_model("apc", time_shift=5).eval(), utterance()
    before, target, made = spectrogram.reconstruct(model, frames).panels
    np.testing.assert_array_equal(target.feats, frames.feats[5:])
    np.testing.assert_array_equal(target.times_s, made.times_s)
    assert made.times_s[0] == pytest.approx(before.times_s[0] + 0.05)
    want = model.predict(frames.tensor()).detach()[0, :-5]
    np.testing.assert_allclose(made.feats, want, atol=1e-6)


@pytest.mark.parametrize("name", ["mockingjay", "apc_transformer"])
def test_attention_is_what_the_layers_use(name):
    torch.manual_seed(0)
    options = {"hidden_size": 8, "num_layers": 2, "num_heads": 2, "ffn_size": 16, "init_std": 0.5}
    model = build(name, CONFIGS[name](**options), small_model("apc").meta).eval()
    feats = utterance(T=20).tensor()
    maps = attention.attention_maps(model, feats)
    assert [found.shape for found in maps] == [(2, 20, 20)] * 2
    for found in maps:
        np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
        assert (np.triu(found[0], 1).max() == 0) == (name == "apc_transformer")  # which sees no later frame
    assert not any(layer._forward_pre_hooks for layer in model.layers)


def test_layer_weights(tmp_path):
    write_model(
        tmp_path, {"model.layer_weights": np.log(np.array([1, 2, 5], np.float32))},
        {"kind": "downstream", "task": "asr", "features": {"layers": [0, 2, 3]}},
    )  # fmt: skip
    assert learned_weights(tmp_path) == pytest.approx({0: 0.125, 2: 0.25, 3: 0.625})
    plot.main(["--exp-dir", str(tmp_path), "--what", "layers", "--out-dir", str(tmp_path / "out")])
    assert size_of(tmp_path / "out/layers.png")[0] == round(style.WIDTH * style.DPI)


def test_curves(exp):
    log = [
        {"part": "valid", "step": 0, "epoch": 0, "loss": 1.5, "zero": 1.2, "cer": 90.0},
        {"part": "train", "step": 10, "epoch": 0, "loss": 1.1, "lr": 1e-3},
        {"part": "valid", "step": 20, "epoch": 1, "loss": 0.7, "zero": 1.2, "cer": 60.0},
    ]
    text = "".join(json.dumps(line) + "\n" for line in log)
    (exp / "apc/train_log.jsonl").write_text(text + '{"part": "tr')  # still being written
    lines = curves.read_log(exp / "apc")
    assert lines == log and curves.best_line(lines)["step"] == 20
    axes = curves.draw(lines, "apc").axes
    assert [axis.get_xscale() for axis in axes[:2]] == ["linear", "symlog"]
    validation = axes[0].get_lines()[1]
    assert validation.get_xydata().tolist() == [[0, 1.5], [20, 0.7]]
    assert {axis.get_title(loc="left") for axis in axes[2:]} == {"cer, validation", "learning rate"}
    assert [path.name for path in plotted(exp, "curves", name="apc", data="")] == ["curves.png"]


def test_every_picture_of_an_utterance(exp):
    assert [path.name for path in plotted(exp, "spectrogram", "--utt-id", "u2")] == ["spectrogram_u2.png"]
    names = {path.name for path in plotted(exp, "hidden", "--layers", "0,1", name="apc")}
    assert names == {"spectrogram_u2.png", "hidden_u1.png"}
    names = {path.name for path in plotted(exp, "attention", "--end-s", "0.3")}
    assert names >= {"attention_u1_layer0.png", "attention_u1_layer1.png"}
    for path in exp.glob("out/*"):
        width, height = size_of(path)
        assert width == round(style.WIDTH * style.DPI) and height > 100


def test_embedding(exp):
    data = exp / "data"
    data.mkdir()
    (data / "utt2spk").write_text("u1 7-1\nu2 8-1\nu3 7-2\n")
    (data / "spk2utt").write_text("7-1 u1\n7-2 u3\n8-1 u2\n")
    (data / "phones.ctm").write_text(
        "".join(f"u{i} 1 {k * 0.15:.3f} 0.15 {p}\n" for i, n in ((1, 4), (2, 5), (3, 4))
                for k, p in enumerate(["sp", "AA1", "SPN", "T", "S"][:n]))
    )  # fmt: skip
    names = [path.name for path in plotted(exp, "embedding", "--data-dir", str(data), name="apc")]
    assert names == ["embedding_phones_pca.png", "embedding_speakers_pca.png"]
    model = load(exp / "apc")
    vectors = embedding.vectors_of(model, open_features(exp / "feats.h5"), "last", 10, 0, "")
    points, phones = embedding.phone_points(vectors, data, 60, 0)
    assert sorted(phones) == ["AA"] * 3 + ["S"] + ["SIL"] * 3 + ["T"] * 3  # noise is left out
    middle = vectors.by_utt["u2"][68]  # S: 0.6 to 0.75 s, moved by 7.5 ms; the frame at 0.68 s
    assert (points[phones.index("S")] == middle).all()
    means, speakers = embedding.speaker_points(vectors, data)
    assert speakers == ["7", "8", "7"] and means.shape == (3, 8)
    assert "want one" in refused_embedding(exp, data, "--layers", "all")


def test_options_of_an_embedding_reach_it(exp, monkeypatch):
    data = exp / "data"
    data.mkdir()
    (data / "utt2spk").write_text("u1 a\nu2 b\nu3 c\n")
    (data / "phones.ctm").write_text("".join(f"u{i} 1 0.0 0.3 AA\nu{i} 1 0.3 0.3 T\n" for i in (1, 2, 3)))
    seen = []

    def points_of(vectors, data_dir, per_phone, seed):
        seen.append((len(vectors.by_utt), data_dir, per_phone, seed))
        return np.zeros((4, 8)), ["AA", "AA", "T", "T"]

    def project(points, projection, seed):
        seen.append((len(points), projection, seed))
        return np.zeros((len(points), 2)), ("x", "y")

    monkeypatch.setattr(embedding, "phone_points", points_of)
    monkeypatch.setattr(embedding, "project", project)
    words = ["--max-utts", "2", "--points-per-phone", "7", "--projection", "tsne", "--seed", "5"]
    names = [path.name for path in plotted(exp, "embedding", "--data-dir", str(data), *words, name="apc")]
    assert names == ["embedding_phones_tsne.png", "embedding_speakers_tsne.png"]
    assert seen == [(2, data, 7, 5), (4, "tsne", 5), (2, "tsne", 5)]


def test_the_seed_decides_what_is_hidden(exp, monkeypatch):
    drawn = []
    monkeypatch.setattr(spectrogram, "draw", lambda done, *_: drawn.append(done) or style.figure(1)[0])
    plotted(exp, "spectrogram", "--seed", "5")
    model = load(exp / "mockingjay")
    frames = read_utterance(model, exp / "feats.h5")
    for seed in (5, 6):
        wanted = spectrogram.reconstruct(model, frames, seed).panels[1].feats
        assert np.array_equal(drawn[0].panels[1].feats, wanted) == (seed == 5)


def refused_embedding(exp, data, *more: str) -> str:
    for path in exp.glob("out/*"):
        path.unlink()
    return refused(exp, "embedding", "--data-dir", str(data), *more, name="apc")


def test_principal_components_keep_the_longest_direction():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 1)) * [[3.0, 4.0, 0.0]] + rng.normal(size=(40, 3)) * 0.01 + 7
    plane, names = embedding.project(points, "pca", 0)
    assert abs(np.corrcoef(plane[:, 0], points[:, 1])[0, 1]) > 0.999
    assert names[0].startswith("component 1, 100 %")


def test_audio_goes_through_the_models_own_features(tmp_path):
    meta = front_end_meta("fbank", num_mel_bins=6)
    model = build("apc", CONFIGS["apc"](hidden_size=8, num_layers=1), meta)
    save_model(tmp_path / "apc", model)
    tone = (0.1 * np.sin(np.arange(RATE) / 3)).astype(np.float32)
    soundfile.write(tmp_path / "a tone.wav", tone, RATE)
    frames = read_utterance(load(tmp_path / "apc"), tmp_path / "a tone.wav", start_s=0.2, end_s=0.5)
    assert frames.feats.shape == (30, 6) and frames.utt_id == "a tone"
    assert frames.times_s[0] == pytest.approx(0.2025)
    plotted(tmp_path, "spectrogram", name="apc", data="a tone.wav")
    assert size_of(tmp_path / "out/spectrogram_a_tone.png")


def test_board_gets_pictures_while_training(tmp_path, exp):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from speechrep.bin import pretrain

    pretrain.main(
        ["--upstream", "apc", "--hidden-size", "8", "--num-layers", "1", "--max-steps", "2",
         "--valid-interval", "2", "--train-dir", str(exp / "feats.h5"), "--valid-dir",
         str(exp / "feats.h5"), "--exp-dir", str(tmp_path / "run")]
    )  # fmt: skip
    events = EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"images": 0})
    events.Reload()
    shown = events.Images("reconstruction/u1")
    assert [event.step for event in shown] == [0, 2]
    assert shown[0].encoded_image_string.startswith(PNG)
    assert shown[0].encoded_image_string != shown[1].encoded_image_string


def test_board_skips_what_is_too_short(exp):
    model = load(exp / "apc")
    meta = model.meta
    with StoreWriter(exp / "short.h5", meta, ["s"], [10]) as store:
        store.write("s", np.zeros((10, 6), np.float32))
    assert board.pictures(model, open_features(exp / "short.h5")) == {}


def test_bad_input_is_refused(exp):
    assert "no utterance u9" in refused(exp, "spectrogram", "--utt-id", "u9")
    assert "layers '7'" in refused(exp, "hidden", "--layers", "7")
    assert "layers is 'x'" in refused(exp, "attention", "--layers", "x")
    assert "no attention" in refused(exp, "attention", name="apc")
    assert "no training log" in refused(exp, "curves", name="apc", data="")
    assert "no such experiment" in refused(exp, "curves", name="nothing", data="")
    assert "mixes no layers" in refused(exp, "layers", name="apc", data="")
    assert "--data" in refused(exp, "hidden", data="")
    assert "--data-dir" in refused(exp, "embedding")
    assert "no such file" in refused(exp, "hidden", data="absent.h5")
    assert "0 of 60 frames" in refused(exp, "spectrogram", "--start-s", "9")
    wide = small_model("apc", dim=7)
    with StoreWriter(exp / "wide.h5", wide.meta, ["u1"], [60]) as store:
        store.write("u1", np.zeros((60, 7), np.float32))
    assert "dim is 7" in refused(exp, "spectrogram", data="wide.h5")
    (exp / "apc/train_log.jsonl").write_text("")
    assert "empty log" in refused(exp, "curves", name="apc", data="")
    (exp / "apc/train_log.jsonl").write_text('{"part": "valid"}\n')
    assert "train_log.jsonl:1" in refused(exp, "curves", name="apc", data="")


def test_stores_of_another_model_are_refused(exp):
    model = load(exp / "apc")
    meta = FeatureMeta("fbank", {}, 8, 10.0, RATE, upstream="apc", weights_sha256="other", layers=(1,))
    with StoreWriter(exp / "reps.h5", meta, ["u1"], [60]) as store:
        store.write("u1", np.zeros((60, 8), np.float32))
    with pytest.raises(InputError, match="weights_sha256"):
        embedding.vectors_of(model, open_features(exp / "reps.h5"), "last", 10, 0, "")
    assert "holds representations of apc" in refused(exp, "hidden", name="apc", data="reps.h5")


def test_other_targets_have_their_own_axis_and_no_error():
    linear = front_end_meta("linear")
    model = small_model("mockingjay", target_dim=linear.dim).eval()
    done = spectrogram.reconstruct(model, utterance(), other=linear)
    assert done.panels[2].feats.shape == (50, linear.dim) and not done.errors
    axes = spectrogram.draw(done, model.meta, "x", linear).axes
    assert [axis.get_ylabel() for axis in axes[:3]] == ["channel", "channel", "Hz"]
    told = {"target": {"format": "speechrep-features/1"} | vars(linear)}
    assert spectrogram.target_of(told | {"target": told["target"] | {"layers": []}}, "x") == linear
    assert spectrogram.target_of({}, "x") is None


def test_representations_lie_in_time_where_a_dump_of_them_does(exp):
    """Of ready-made features, too, whose configuration does not tell of a frame shift."""
    model = small_model("mockingjay", downsample=3)
    model.meta = meta = dataclasses.replace(model.meta, feature="kaldi", config={})
    with StoreWriter(exp / "ready.h5", meta, ["u1"], [60]) as store:
        store.write("u1", np.zeros((60, 6), np.float32))
    vectors = embedding.vectors_of(model, open_features(exp / "ready.h5"), "last", 1, 0, "")
    wanted = represented_meta(model, meta, vectors.meta.layers)
    assert frame_times_s(vectors.meta, 3).tolist() == frame_times_s(wanted, 3).tolist()
    assert wanted.config["frame_shift"] == 10


def test_embeddings_of_nothing_are_refused(exp):
    data = exp / "data"
    data.mkdir()
    (data / "utt2spk").write_text("u1 a\nu2 a\nu3 a\n")
    (data / "phones.ctm").write_text("u1 1 0.0 0.60 SPN\n")
    for words, message in (
        (["--max-utts", "0"], "max-utts is 0, want at least 1"),
        (["--points-per-phone", "0"], "points-per-phone is 0, want at least 1"),
        (["--seed", "-1"], "--seed: want 0 or more, got -1"),
        ([], "no phone but SPN"),
    ):
        assert message in refused_embedding(exp, data, *words)

"""Pictures: the right values on the right axes, files that are whole, and what is refused."""

import dataclasses
import json
import struct
import sys
import types

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
from speechrep.report import attention, board, curves, embedding, hidden, layers, scales, spectrogram, style
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


@pytest.mark.parametrize(("htk", "first"), [(False, 1), (True, 0)])
def test_the_energy_is_left_out_wherever_it_stands(htk, first):
    meta = front_end_meta("fbank", num_mel_bins=40, use_energy=True, htk_compat=htk)
    assert scales.channels(meta).columns == slice(first, first + 40)


def test_unknown_frequencies_are_channels():
    kaldi = FeatureMeta("kaldi", {}, 40, 10.0, RATE)
    warped = front_end_meta("fbank", vtln_warp=1.1)
    other = dataclasses.replace(front_end_meta("fbank", num_mel_bins=40), dim=30)  # than its configuration's
    made = dataclasses.replace(front_end_meta("fbank", num_mel_bins=40), upstream="apc", dim=64)
    for meta in (kaldi, warped, front_end_meta("mfcc"), other, made):
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
    (image,) = axes[0, 0].get_images()
    assert image.origin == "lower" and np.array_equal(image.get_array(), frames.feats.T)


def test_colours_are_for_what_is_usual():
    """Not for the one value that is far off; those of what has a sign are even about 0."""
    values = np.linspace(-1, 3, 1001, dtype=np.float32)[:, None]
    values[7] = 1e6
    low, high = scales.limits_of(values, np.array([np.nan]))
    assert -1 < low < -0.9 and 2.9 < high < 3
    low, high = scales.symmetric_limits(values)
    assert low == -high and 2.9 < high < 3


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
    for name, wrong in (("reconstruction", made - target), ("predicting 0", target)):
        np.testing.assert_array_equal(np.isnan(done.errors[name]), ~done.hidden)
        mean = np.abs(wrong[done.hidden]).mean(-1)
        np.testing.assert_allclose(done.errors[name][done.hidden], mean, rtol=1e-5)
    assert done.panels[1].title == f"masked: {round(100 * done.hidden.mean())} % of the frames are 0"
    np.testing.assert_array_equal(spectrogram.reconstruct(model, frames).panels[1].feats, masked)  # same seed


def test_apc_shows_prediction_at_the_time_it_is_of():
    model, frames = small_model("apc", time_shift=5).eval(), utterance()
    done = spectrogram.reconstruct(model, frames)
    before, target, made = done.panels
    np.testing.assert_array_equal(target.feats, frames.feats[5:])
    np.testing.assert_array_equal(target.times_s, made.times_s)
    assert made.times_s[0] == pytest.approx(before.times_s[0] + 0.05)
    want = model.predict(frames.tensor()).detach()[0, :-5]
    np.testing.assert_allclose(made.feats, want, atol=1e-6)
    assert target.title == "target: the input 5 frames, 50 ms later"
    for name, told in (("prediction", made), ("repeating the input", before)):
        np.testing.assert_allclose(done.errors[name], np.abs(told.feats - target.feats).mean(-1), rtol=1e-5)
    axes = spectrogram.draw(done, model.meta, "x").axes
    assert len({axis.get_images()[0].get_clim() for axis in axes[:3]}) == 1  # the same colours for the same


def test_runs_of_what_was_hidden():
    flags = np.array([1, 0, 0, 1, 1, 0, 1], bool)
    assert spectrogram._runs(flags) == [(0, 0), (3, 4), (6, 6)]


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


def test_a_map_of_attention_has_the_looking_frames_downwards():
    times_s = np.array([0.1, 0.2, 0.3, 0.4])
    axis = attention.draw(np.eye(4, dtype=np.float32)[None], times_s, "x").axes[0]
    (image,) = axis.get_images()
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("seen frame (s)", "looking frame (s)")
    assert image.origin == "upper" and image.get_extent() == pytest.approx([0.05, 0.45, 0.45, 0.05])


def test_attention_is_that_of_one_window():
    frames = utterance(T=50)
    seen = attention.span(small_model("mockingjay", downsample=2, window=5), frames)
    np.testing.assert_array_equal(seen.feats, frames.feats[:10])
    assert len(seen.times_s) == 10
    assert attention.span(small_model("mockingjay", downsample=2), frames) is frames


def test_hidden_vectors_are_those_of_their_layers_and_times(monkeypatch):
    model, frames = small_model("mockingjay", downsample=2).eval(), utterance(T=41)
    first, *shown = hidden.draw(model, frames, "1,0", "x").axes[:3]
    np.testing.assert_array_equal(first.get_images()[0].get_array(), frames.feats.T)
    hiddens = model(frames.tensor()).hiddens
    for layer, axis in enumerate(shown):
        (image,) = axis.get_images()
        np.testing.assert_allclose(image.get_array(), hiddens[layer][0].detach().T, atol=1e-6)
        assert axis.get_title(loc="left") == f"layer {layer} of 0 to 1"
        assert image.get_extent() == pytest.approx([0.0075, 0.4075, -0.5, 7.5])  # 20 pairs of frames
        low, high = image.get_clim()
        assert low == -high
    monkeypatch.setattr(hidden, "MOST_LAYERS", 1)
    shown = hidden.draw(model, frames, "all", "x").axes
    assert sum(axis.get_ylabel() == "dimension" for axis in shown) == 1


def test_weights_of_layers_stand_at_their_numbers():
    axis = layers.draw({0: 0.5, 2: 0.2, 3: 0.3}, "x").axes[0]
    assert [bar.get_height() for bar in axis.patches] == [0.5, 0.2, 0.3]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["0", "2", "3"]
    assert axis.get_lines()[0].get_ydata() == pytest.approx([1 / 3, 1 / 3])  # equal weights


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
        {"part": "valid", "step": 0, "epoch": 0, "loss": 1.5, "zero": 1.3, "copy": 2.0, "cer": 90.0},
        {"part": "train", "step": 10, "epoch": 0, "loss": 1.1, "lr": 1e-3, "cer": 99.0},
        {"part": "valid", "step": 20, "epoch": 1, "loss": 0.7, "zero": 1.2, "cer": 60.0, "loss_over_zero": 1},
    ]
    text = "".join(json.dumps(line) + "\n" for line in log)
    (exp / "apc/train_log.jsonl").write_text(text + '{"part": "tr')  # still being written
    lines = curves.read_log(exp / "apc")
    assert lines == log and curves.best_line(lines)["step"] == 20
    axes = curves.draw(lines, "apc").axes
    assert [axis.get_xscale() for axis in axes[:2]] == ["linear", "symlog"]
    for axis in axes[:2]:
        found = {line.get_label(): line.get_xydata().tolist() for line in axis.get_lines()}
        assert (found["training"], found["validation"]) == ([[10, 1.1]], [[0, 1.5], [20, 0.7]])
        assert found["predicting 0"][0][1] == 1.2 and found["repeating the last frame"][0][1] == 2.0
    found = {axis.get_title(loc="left"): axis.get_lines()[0].get_xydata().tolist() for axis in axes[2:]}
    assert found == {"cer, validation": [[0, 90], [20, 60]], "learning rate": [[10, 1e-3]]}
    assert len(curves.draw(lines, "apc", parts=False).axes) == 2
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
    few, named = embedding.phone_points(vectors, data, 1, 0)
    assert named == ["AA", "S", "SIL", "T"] and (few[1] == middle).all()
    means, speakers = embedding.speaker_points(vectors, data)
    assert speakers == ["7", "8", "7"] and means.shape == (3, 8)
    np.testing.assert_allclose(means[1], vectors.by_utt["u2"].mean(0))
    assert "want one" in refused_embedding(exp, data, "--layers", "all")


def test_vectors_are_those_of_the_layer_that_is_asked_for(exp):
    """Of a model, and of a store of several layers."""
    model, reader = load(exp / "apc"), open_features(exp / "feats.h5")
    output = model(torch.from_numpy(reader.read("u1"))[None])
    vectors = [each[0].detach().numpy() for each in output.hiddens]
    meta = represented_meta(model, reader.meta, (0, 1))
    with StoreWriter(exp / "reps.h5", meta, ["u1"], [60], 2) as store:
        store.write("u1", np.stack(vectors, 1))
    for layer, wanted in enumerate(vectors):
        for source in (reader, open_features(exp / "reps.h5")):
            found = embedding.vectors_of(model, source, str(layer), 3, 0, "")
            np.testing.assert_allclose(found.by_utt["u1"], wanted, atol=1e-6)
            assert found.meta.layers == (layer,)


def test_points_of_phones_and_speakers_are_drawn_where_they_are():
    plane = np.array([[0, 0], [1, 0], [5, 5], [9, 1], [7, 1]], float)
    axis = embedding.draw_phones(plane, ["M", "M", "N", "AA", "W"], ("one", "two"), "x").axes[0]
    found = {part.get_label(): part.get_offsets().tolist() for part in axis.collections}
    wanted = {"nasal": plane[:3].tolist(), "vowel": [[9, 1]], "approximant": [[7, 1]]}
    assert {name: points for name, points in found.items() if points} == wanted
    assert {text.get_text(): list(text.xy) for text in axis.texts} == {
        "M": [0.5, 0], "N": [5, 5], "AA": [9, 1], "W": [7, 1],
    }  # fmt: skip
    axis = embedding.draw_speakers(plane, ["7", "8", "7", "8", "8"], ("one", "two"), "x").axes[0]
    found = {part.get_label(): part.get_offsets().tolist() for part in axis.collections}
    assert found == {"7": plane[[0, 2]].tolist(), "8": plane[[1, 3, 4]].tolist()}
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("one", "two")


def test_few_points_are_no_trouble_to_tsne(monkeypatch):
    """Whose perplexity must be below their number."""
    asked = []

    class Tsne:
        def __init__(self, **options):
            asked.append(options)

        def fit_transform(self, points):
            return points[:, :2]

    monkeypatch.setitem(sys.modules, "sklearn.manifold", types.SimpleNamespace(TSNE=Tsne))
    for count in (4, 1000):
        embedding.project(np.random.default_rng(0).normal(size=(count, 3)), "tsne", 5)
    assert [options["perplexity"] for options in asked] == [1.0, 30.0]
    assert {options["random_state"] for options in asked} == {5}
    with pytest.raises(InputError, match="2 points are too few to show"):
        embedding.project(np.zeros((2, 3)), "pca", 0)


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
    with pytest.raises(InputError, match="no utterance u1; an audio file is one, a tone"):
        read_utterance(load(tmp_path / "apc"), tmp_path / "a tone.wav", "u1")
    plotted(tmp_path, "spectrogram", name="apc", data="a tone.wav")
    assert size_of(tmp_path / "out/spectrogram_a_tone.png")


def test_audio_is_normalised_by_the_models_own_statistics(tmp_path):
    meta = dataclasses.replace(front_end_meta("fbank", num_mel_bins=6), cmvn="global", norm_vars=False)
    model = build("apc", CONFIGS["apc"](hidden_size=8, num_layers=1), meta)
    soundfile.write(tmp_path / "u.wav", 0.1 * np.sin(np.arange(RATE) / 3), RATE)
    found = []
    for mean in (0.0, 2.0):
        model.cmvn_stats = np.array([[mean] * 6 + [1], [1] * 6 + [0]], np.float64)
        found.append(read_utterance(model, tmp_path / "u.wav").feats)
    np.testing.assert_allclose(found[0] - found[1], 2, atol=1e-5)


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


def test_board_draws_the_beginning_of_the_first_long_ones(exp, monkeypatch):
    model, other, seen = load(exp / "apc"), front_end_meta("linear"), []
    with StoreWriter(exp / "long.h5", model.meta, ["a", "b", "c"], [10, 500, 500]) as store:
        for utt_id, length in (("a", 10), ("b", 500), ("c", 500)):
            store.write(utt_id, np.zeros((length, 6), np.float32))

    def reconstruct(model, utterance, other):
        seen.append((utterance.utt_id, len(utterance.feats), other))

    monkeypatch.setattr(spectrogram, "reconstruct", reconstruct)
    monkeypatch.setattr(spectrogram, "draw", lambda *_: style.figure(1)[0])
    drawn = board.pictures(model, open_features(exp / "long.h5"), 1, other)
    assert list(drawn) == ["reconstruction/b"] and seen == [("b", 400, other)]


def test_pixels_are_red_green_and_blue():
    drawn = style.figure(1)[0]
    drawn.set_facecolor("#ff8000")
    assert style.pixels(drawn)[0, 0].tolist() == [255, 128, 0]


def test_names_are_shown_as_they_are_and_titles_whole():
    assert style.literal("_a$b$") == r" _a\$b\$"  # matplotlib leaves out of a legend what begins with _
    title = " ".join(["word"] * 30)
    lines = style.figure(1, title=title)[0]._suptitle.get_text().split("\n")
    assert max(map(len, lines)) <= 62 and " ".join(lines) == title


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
    (data / "utt2spk").write_text("u1 a\nu2 a\n")
    vectors = embedding.vectors_of(load(exp / "apc"), open_features(exp / "feats.h5"), "last", 3, 0, "")
    with pytest.raises(InputError, match="no speaker for utterance u3"):
        embedding.speaker_points(vectors, data)
    (data / "utt2spk").write_text("u1 a\nu2 a\nu3 a\n")
    (data / "phones.ctm").write_text("u1 1 0.0 0.60 SPN\n")
    for words, message in (
        (["--max-utts", "0"], "max-utts is 0, want at least 1"),
        (["--points-per-phone", "0"], "points-per-phone is 0, want at least 1"),
        (["--seed", "-1"], "--seed: want 0 or more, got -1"),
        ([], "no phone but SPN"),
    ):
        assert message in refused_embedding(exp, data, *words)

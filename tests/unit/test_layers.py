"""The choice of a layer, by hand or learned, from training to decoding."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from downstream_data import META, make_set

from speechrep.bin import decode, train_downstream
from speechrep.data.features import open_features
from speechrep.data.layers import LayerReader
from speechrep.downstream.asr_input import InputLayer
from speechrep.downstream.layer_sum import LAYER_SUMS, layer_shares, learned_weights
from speechrep.downstream.models import load_trained
from speechrep.downstream.sentiment import SentimentConfig, SentimentModel
from speechrep.errors import InputError
from speechrep.io.store import Store, StoreWriter
from speechrep.io.table import read_table
from speechrep.upstream.dumping import parse_layers


def make_layers(folder, layers=(0, 2, 3), knows=1):
    """A set whose representation has several layers, of which one shows the phones and the rest are noise."""
    path, folder = make_set(folder)
    store, rng = Store(path), np.random.default_rng(5)
    meta = META.__class__(
        **(vars(store.meta) | {"layers": layers, "upstream": "apc", "weights_sha256": "1" * 64})
    )
    out = folder / "layers.h5"
    with StoreWriter(out, meta, store.utt_ids, store.num_frames.tolist(), len(layers)) as writer:
        for utt_id in store.utt_ids:
            feats = store.read(utt_id)
            stacked = rng.standard_normal((len(feats), len(layers), feats.shape[1])).astype(np.float32)
            stacked[:, knows] = feats
            writer.write(utt_id, stacked)
    return out, folder


def test_a_chosen_layer(tmp_path):
    out, _ = make_layers(tmp_path)
    store = open_features(out)
    utt_id = store.utt_ids[0]
    every = store.read(utt_id)
    for choice, want, layers in [
        ("last", every[:, 2], (3,)), ("first", every[:, 0], (0,)), ("2", every[:, 1], (2,)),
        ("average", every.mean(1), (0, 2, 3)),
    ]:  # fmt: skip
        reader = LayerReader(store, choice)
        np.testing.assert_allclose(reader.read(utt_id), want, atol=1e-6)
        np.testing.assert_allclose(reader.read(utt_id, 2, 5), want[2:5], atol=1e-6)
        assert reader.meta.layers == layers
    for choice, message in [("1", r"holds the layers \[0, 2, 3\], not layer 1"), ("top", "layer is 'top'")]:
        with pytest.raises(InputError, match=message):
            LayerReader(store, choice)


def test_a_sum_of_layers_is_none_of_them(tmp_path):
    out = tmp_path / "sum.h5"
    meta = dataclasses.replace(open_features(make_layers(tmp_path)[0]).meta, layers=(0, 1, 2))
    with StoreWriter(out, meta, ["u"], [5]) as writer:  # as dump --layer-weights-from writes it
        writer.write("u", np.zeros((5, meta.dim), np.float32))
    with pytest.raises(InputError, match=r"sum\.h5: holds the layers' sum, not layer 1"):
        LayerReader(open_features(out), "1").read("u")
    assert open_features(out).read("u").shape == (5, meta.dim)


def train(task, labelled, exp_dir, *more):
    feats, data = map(str, labelled)
    sets = ["--train", feats, "--train-data", data, "--valid", feats, "--valid-data", data]
    train_downstream.main(["--task", task, *sets, "--exp-dir", str(exp_dir), *more])
    out_dir = exp_dir / "decode"
    decode.main(["--exp-dir", str(exp_dir), "--data", str(labelled[0]), "--data-dir", str(labelled[1]),
                 "--out-dir", str(out_dir)])  # fmt: skip
    ref, hyp = (read_table(out_dir / name) for name in ("ref", "hyp"))
    pairs = [pair for u in ref for pair in zip(ref[u].split(), hyp[u].split(), strict=True)]
    return np.mean([r == h for r, h in pairs if r != "-"])


def test_probes_of_chosen_and_summed_layers(tmp_path):
    labelled = make_layers(tmp_path / "set")
    chosen = train("phone", labelled, tmp_path / "two", "--max-steps", "0", "--layer", "2")
    other = train("phone", labelled, tmp_path / "last", "--max-steps", "0", "--layer", "last")
    steps = "--max-steps 100 --lr 3e-2 --grad-clip 0 --weight-decay 0 --valid-interval 50 --l2 1e-4"
    summed = train("phone", labelled, tmp_path / "sum", *steps.split())
    assert chosen > other + 0.3 and summed > other + 0.3
    assert json.loads((tmp_path / "two" / "model.json").read_text())["layer"] == "2"
    weights = learned_weights(tmp_path / "sum")
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5) and max(weights.values()) == weights[2] > 0.5
    probe = load_trained(tmp_path / "sum").model
    assert list(weights) == [0, 2, 3]
    mixture = layer_shares(probe.layer_scores[probe.chosen], "softmax")  # what the probe computes with
    assert list(weights.values()) == pytest.approx(mixture.tolist(), abs=1e-6)
    with pytest.raises(InputError, match="the phone model mixes no layers"):
        learned_weights(tmp_path / "two")


def test_a_plain_sum_is_drawn_as_it_is(tmp_path):
    labelled = make_layers(tmp_path / "set")
    steps = "--layer-sum plain --max-steps 60 --lr 1e-1 --grad-clip 0 --weight-decay 0 --valid-interval 30"
    train("phone", labelled, tmp_path / "sum", *steps.split(), "--l2", "1e-4")
    weights = list(learned_weights(tmp_path / "sum").values())
    assert sum(weights) != pytest.approx(1, abs=1e-2)  # nothing holds it there
    probe = load_trained(tmp_path / "sum").model
    assert weights == pytest.approx(probe.layer_scores[probe.chosen].tolist(), abs=1e-6)


@pytest.mark.parametrize("kind", LAYER_SUMS)
def test_models_with_layers_inside_take_either_sum(tmp_path, kind):
    labelled = make_layers(tmp_path / "set")
    words = f"--model gru --hidden-size 8 --layer-sum {kind} --lr 1e-2 --every 1".split()
    words += ["--max-steps", "20", "--valid-interval", "20"]
    train("speaker", labelled, tmp_path / "gru", *words)
    weights = list(learned_weights(tmp_path / "gru").values())
    assert (sum(weights) == pytest.approx(1, abs=1e-5)) == (kind == "softmax")
    scores = load_trained(tmp_path / "gru").model.layer_weights
    assert weights == pytest.approx(layer_shares(scores, kind).tolist(), abs=1e-6)
    config = SentimentConfig(layer_sum=kind, dropout=0.0)
    model, feats = SentimentModel(config, 4, 3), torch.randn(2, 10, 3, 4)
    one = SentimentModel(config, 4, 0)
    one.load_state_dict({name: value for name, value in model.state_dict().items() if name in one.state_dict()
                         and name not in ("mean", "scale")}, strict=False)  # fmt: skip
    lens = torch.tensor([10, 7])
    torch.testing.assert_close(model(feats, lens), one(feats.mean(2), lens))  # both begin as the mean
    front = InputLayer(4, 3, 10.0, kind)
    torch.testing.assert_close(front(feats), feats.mean(2))


def test_first_is_the_models_first(tmp_path):
    feats = open_features(make_layers(tmp_path, layers=(1, 2, 3))[0])
    with pytest.raises(InputError, match=r"holds the layers \[1, 2, 3\], which are not the first"):
        LayerReader(feats, "first")
    assert LayerReader(feats, "last").meta.layers == (3,)
    assert parse_layers("2,0", 3) == (0, 2)


def test_layers_that_are_not_there_are_told(tmp_path):
    acoustic = open_features(make_set(tmp_path / "acoustic")[0])
    with pytest.raises(InputError, match="acoustic features have no layers, but layer is 'last'"):
        LayerReader(acoustic, "last")
    last = open_features(make_layers(tmp_path / "set", layers=(2,), knows=0)[0])
    assert LayerReader(last, "last").meta.layers == (2,)
    for choice in ("first", "average"):
        with pytest.raises(InputError, match=rf"holds the layers \[2\], which are not the {choice}"):
            LayerReader(last, choice)


def test_speakers_from_summed_layers(tmp_path):
    assert train("speaker", make_layers(tmp_path / "set"), tmp_path / "exp", "--max-steps", "0") > 0.9

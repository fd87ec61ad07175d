import json

import numpy as np
import pytest
import torch

from speechrep.data.features import open_features
from speechrep.downstream.base import Labelled, Loading
from speechrep.downstream.sentiment import (
    SentimentConfig,
    SentimentModel,
    SentimentTask,
    _thin,
    decode,
    load,
    sentiments_of,
)
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.store import StoreWriter
from speechrep.io.table import read_table, write_table
from speechrep.score.sentiment import pair, score
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train

DIM = 6
META = FeatureMeta(feature="fbank", config={}, dim=DIM, frame_shift_ms=10.0, sample_rate=16000)


def make_set(folder, num_utts=60, seed=0, layers=0):
    """Utterances whose sentiment is the mean of one dimension; noise in the others, thirds as labels."""
    rng = np.random.default_rng(seed)
    sentiments = {f"v-{i:04d}": round(3 * rng.uniform(-3, 3)) / 3 for i in range(num_utts)}
    lens = rng.integers(7, 40, num_utts)
    with StoreWriter(folder / "x.h5", META, list(sentiments), lens, layers) as store:
        for length, (utt_id, sentiment) in zip(lens, sentiments.items(), strict=True):
            feats = rng.standard_normal((length, *((layers,) if layers else ()), DIM)).astype(np.float32)
            (feats[:, -1] if layers else feats)[:, 2] += sentiment  # only the last layer knows
            store.write(utt_id, feats)
    write_table(folder / "utt2sentiment", {utt: f"{value:.6g}" for utt, value in sentiments.items()})
    return Labelled(open_features(folder / "x.h5"), folder)


def model(**options):
    torch.manual_seed(0)
    return SentimentModel(SentimentConfig(**{"dropout": 0.0} | options), DIM, 0).eval()


@pytest.mark.parametrize("join", ["mean", "first"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_neither_padding_nor_company_changes_a_prediction(join, pooling):
    net = model(join=join, pooling=pooling, every=4)
    lens = [13, 1, 8]
    feats = [torch.randn(n, DIM) for n in lens]
    alone = [net.predict(f[None], torch.tensor([len(f)])) for f in feats]
    for pad in (0.0, 1e3):
        batch = torch.full((3, 20, DIM), pad)
        for row, f in zip(batch, feats, strict=True):
            row[: len(f)] = f
        torch.testing.assert_close(
            net.predict(batch, torch.tensor(lens)), torch.cat(alone), atol=1e-5, rtol=0
        )


def test_dropout_is_of_training_alone():
    net, lens = model(dropout=0.5), torch.full((4,), 20)
    feats = torch.randn(4, 20, DIM)
    assert torch.equal(net(feats, lens), net(feats, lens))
    net.train()
    assert not torch.equal(net(feats, lens), net(feats, lens))


def test_groups_of_frames_are_averaged_and_the_last_may_be_short():
    feats = torch.arange(7.0)[None, :, None]
    steps, lens = _thin(feats, torch.tensor([7]), 3, "mean")
    assert steps[0, :, 0].tolist() == [1.0, 4.0, 6.0]
    assert lens.tolist() == [3]
    assert _thin(feats, torch.tensor([7]), 3, "first")[0][0, :, 0].tolist() == [0.0, 3.0, 6.0]


def test_learns_what_there_is_to_learn_and_survives_storing(tmp_path):
    data, valid = make_set(tmp_path / "train", 120), make_set(tmp_path / "valid", 40, seed=1)
    config = SentimentConfig(hidden_size=8, dropout=0.0, pooling="mean", max_utts=20, max_frames=500)
    task = SentimentTask(config, data, valid, Loading(seed=1))
    best = train(task, TrainConfig(max_steps=150, lr=0.01, valid_interval=50), tmp_path / "exp")
    assert best["mae"] < 0.6  # the mean alone gives about 1.5
    again = load(json.loads(json.dumps(task.describe())))
    again.load_state_dict(task.model.state_dict())
    decode(again, valid, tmp_path / "out", None)
    hyps, refs = read_table(tmp_path / "out/hyp"), read_table(tmp_path / "out/ref")
    assert refs == read_table(tmp_path / "valid/utt2sentiment")
    figures = score(*pair(hyps, refs, "hyp", "ref"), replications=10)
    assert figures["corr"].value > 0.9
    assert figures["acc2"].value > 85


@pytest.mark.parametrize(("mode", "watched"), [("regression", "mae"), ("class7", "acc7"), ("binary", "acc2")])
def test_validation_figures_are_those_of_scoring(tmp_path, mode, watched):
    data = make_set(tmp_path / "set", 30)
    task = SentimentTask(SentimentConfig(mode=mode, every=2), data, data, Loading())
    task.model.eval()
    with torch.no_grad():
        sums = [task.loss(batch)[1] for batch in task.valid_loader().epoch(0)]
    ours = float(sum(s[watched] for s in sums)) / sum(s["weight"] for s in sums)
    decode(task.model, data, tmp_path / "out", None)
    hyps, refs = (read_table(tmp_path / "out" / name) for name in ("hyp", "ref"))
    figure = score(*pair(hyps, refs, "hyp", "ref"), mode=mode, replications=5)[watched]
    assert task.best_metric == watched
    assert ours == pytest.approx(figure.value, abs=1e-4)


def test_classes_round_half_to_even_and_zero_is_not_negative(tmp_path):
    data = make_set(tmp_path / "set", 6)
    labels = torch.tensor([0.5, 1.5, 2.5, -0.5, 0.0, -0.3])
    feats, lens = torch.zeros(6, 5, DIM), torch.full((6,), 5)
    batch = {"feats": feats, "feat_lens": lens, "labels": labels}
    for mode, bias, correct in (("class7", [0, 0, 0, 9.0, 0, 0, 0], 4), ("binary", [9.0], 4)):
        task = SentimentTask(SentimentConfig(mode=mode), data, data, Loading())
        task.model.eval()
        torch.nn.init.zeros_(task.model.output.weight)
        task.model.output.bias.data = torch.tensor(bias)
        _, stats = task.loss(batch)  # both models say one thing, right for four
        assert float(stats["acc7" if mode == "class7" else "acc2"]) == 100.0 * correct


def test_layers_are_mixed(tmp_path):
    data = make_set(tmp_path / "set", 40, layers=3)
    task = SentimentTask(SentimentConfig(dropout=0.0, pooling="mean", hidden_size=8), data, data, Loading())
    train(task, TrainConfig(max_steps=60, lr=0.02, valid_interval=60), tmp_path / "exp")
    weights = task.model.layer_weights.softmax(0)
    assert weights.argmax() == 2  # the only layer that knows


def test_labels_that_cannot_be_used_are_refused_by_name(tmp_path):
    data = make_set(tmp_path / "set", 5)
    path = tmp_path / "set/utt2sentiment"
    path.write_text(path.read_text() + "w-0000 1\n")
    with pytest.raises(InputError, match=r"no features for utterance w-0000 .*1 absent"):
        SentimentTask(SentimentConfig(), data, data, Loading())
    path.write_text("v-0000 much\n")
    with pytest.raises(InputError, match=r"utt2sentiment: v-0000: 'much' is no number"):
        SentimentTask(SentimentConfig(), data, data, Loading())


def test_few_utterances_that_lost_their_features_are_left_out_of_training_alone(tmp_path):
    data = make_set(tmp_path / "set", 30)
    path = tmp_path / "set/utt2sentiment"
    path.write_text(path.read_text() + "w-0000 1\n")
    task = SentimentTask(SentimentConfig(), data, data, Loading())
    assert task.train.utt_ids == task.valid.utt_ids == list(data.feats.utt_ids)
    with pytest.raises(InputError, match="no features for utterance w-0000"):
        sentiments_of(data)  # as decoding has it


def test_a_part_leaves_out_what_has_no_annotation(tmp_path):
    data = make_set(tmp_path, 30)
    utt_ids = data.feats.utt_ids
    write_table(tmp_path / "utt2spk", dict.fromkeys(utt_ids, "v"))
    write_table(tmp_path / "spk2utt", {"v": " ".join(utt_ids)})
    annotated = read_table(tmp_path / "utt2sentiment")
    removed = next(iter(sentiments_of(data._replace(split="train"))))
    del annotated[removed]
    write_table(tmp_path / "utt2sentiment", annotated)
    left = sentiments_of(data._replace(split="train"))
    assert removed not in left and len(left) > 20

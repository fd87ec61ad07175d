"""The probe must reach the optimum, choose its penalty on validation data and not see rounding errors."""

import numpy as np
import pytest
import torch
from scipy.signal import lfilter
from sklearn.linear_model import LogisticRegression

from speechrep.downstream.layer_sum import layer_shares
from speechrep.downstream.probe import Probe, ProbeConfig, Statistics, choose, probe_loss
from speechrep.downstream.solve import solve
from speechrep.errors import InputError


def collinear_frames(rng, centres, num_frames, context=4):
    """Frames that vary smoothly in time, each stacked with its neighbours, and noisy classes."""
    labels = np.repeat(rng.integers(len(centres), size=num_frames // 8 + 1), 8)[:num_frames]
    noise = lfilter(
        [1.0], [1.0, -0.9], rng.standard_normal((num_frames + 2 * context, centres.shape[1])), axis=0
    )
    frames = np.pad(centres[labels], ((context, context), (0, 0)), mode="edge") + noise
    stacked = np.concatenate([frames[i : i + num_frames] for i in range(2 * context + 1)], 1)
    return stacked.astype(np.float32), labels


def fit(probe, vectors, labels, epochs=8, batch=1000, lr=1e-2):
    """What the trainer does, without it: AdamW, decay to zero, batches in random order."""
    optimizer = torch.optim.AdamW(probe.parameters(), lr=lr, weight_decay=0)
    steps = epochs * (len(labels) // batch)
    rng = np.random.default_rng(0)
    for step in range(steps):
        rows = rng.integers(len(labels), size=batch)
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss, stats = probe_loss(probe, torch.from_numpy(vectors[rows]), torch.from_numpy(labels[rows]))
        optimizer.zero_grad()
        (loss / stats["weight"]).backward()
        optimizer.step()
    probe.eval()


def accuracies(probe, vectors, labels):
    with torch.no_grad():
        _, stats = probe_loss(probe, torch.from_numpy(vectors), torch.from_numpy(labels))
    return {name: float(value) / stats["weight"] for name, value in stats.items()}


@pytest.mark.parametrize("l2", [1e-5, 1e-3, 3e-2])
def test_reaches_scikit_learns_optimum_on_collinear_inputs(l2):
    """Within 0.3 % of accuracy; unconverged probes miss by points (representation quality, trap 2)."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((8, 12)) * 2
    train, train_labels = collinear_frames(rng, centres, 8000)
    test, test_labels = collinear_frames(rng, centres, 4000)
    statistics = Statistics([train[:3000], train[3000:]])
    probe = Probe(train.shape[1], [str(i) for i in range(8)], ProbeConfig(l2=(l2,)))
    probe.set_statistics(statistics)
    solve(probe, train.copy(), train_labels, statistics, probe.config.iterations, torch.device("cpu"))
    ours = accuracies(probe.eval(), test, test_labels)["correct_0"]

    mean, std = train.mean(0), train.std(0)
    oracle = LogisticRegression(C=1 / (l2 * len(train)), max_iter=500, tol=1e-4)
    oracle.fit((train - mean) / std, train_labels)
    theirs = oracle.score((test - mean) / std, test_labels)
    assert 0.6 < theirs < 0.9  # neither trivial nor hopeless
    assert abs(ours - theirs) <= 0.003
    weights = (probe.basis @ probe.weights[0][0]).detach().numpy()
    cosine = np.sum(weights * oracle.coef_.T) / np.linalg.norm(weights) / np.linalg.norm(oracle.coef_)
    assert cosine > 0.99


def test_every_penalty_is_solved_as_if_alone():
    rng = np.random.default_rng(0)
    train, labels = collinear_frames(rng, rng.standard_normal((4, 5)), 2000, context=1)
    statistics = Statistics([train])
    together = Probe(train.shape[1], list("abcd"), ProbeConfig(l2=(1e-4, 1e-1)))
    alone = Probe(train.shape[1], list("abcd"), ProbeConfig(l2=(1e-4,)))
    for probe in (together, alone):
        probe.set_statistics(statistics)
        solve(probe, train.copy(), labels, statistics, 60, torch.device("cpu"))
    vectors = torch.from_numpy(train)
    shared = (together.all_logits(vectors)[0].softmax(-1) - alone.all_logits(vectors)[0].softmax(-1)).abs()
    assert shared.max() < 0.02
    weak, strong = (together.penalty() / torch.tensor([1e-4, 1e-1])).tolist()  # squared sizes
    assert strong < 0.25 * weak


def test_the_penalty_spares_the_bias():
    """However strong, it leaves the mean probability of a class at its share: there the bias is best."""
    rng = np.random.default_rng(0)
    labels = (rng.uniform(size=400) < 0.9).astype(np.int64)
    vectors = rng.standard_normal((400, 3)).astype(np.float32)
    statistics = Statistics([vectors])
    probe = Probe(3, list("ab"), ProbeConfig(l2=(0.5,)))
    probe.set_statistics(statistics)
    solve(probe, vectors.copy(), labels, statistics, 100, torch.device("cpu"))
    found = probe(torch.from_numpy(vectors)).softmax(-1).mean(0)
    assert found[1].item() == pytest.approx(labels.mean(), abs=2e-3)


def test_statistics_are_those_of_all_rows():
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6)) + 100).astype(np.float32)
    statistics = Statistics([rows[:100], rows[100:]])
    assert np.allclose(statistics.mean, rows.mean(0), rtol=1e-5)
    assert np.allclose(1 / statistics.scale, rows.std(0), rtol=1e-3)
    standard = (rows - statistics.mean) * statistics.scale
    white = standard @ statistics.whitening()
    assert np.allclose(np.cov(white.T, ddof=0), np.eye(6), atol=2e-3)


def test_constant_columns_are_zeroed():
    """Normalisation leaves an utterance's own level at 1e-5 in columns that should not vary at all."""
    rng = np.random.default_rng(0)
    leak = np.repeat(np.arange(4.0), 50)
    vectors = np.stack([1e-5 * leak, rng.standard_normal(200)], 1).astype(np.float32)
    statistics = Statistics([vectors])
    assert statistics.num_constant == 1 and statistics.scale[0] == 0
    probe = Probe(2, list("abcd"), ProbeConfig(l2=(0.0,)))
    probe.set_statistics(statistics)
    fit(probe, vectors, leak.astype(np.int64), epochs=50, batch=100)
    assert accuracies(probe, vectors, leak.astype(np.int64))["correct_0"] < 0.45


def test_the_penalty_that_validation_prefers_is_chosen():
    probe = Probe(3, list("ab"), ProbeConfig(l2=(1e-4, 1e-2, 1.0)))
    stats = choose(probe, {"loss": 0.3, "correct_0": 0.5, "correct_1": 0.7, "correct_2": 0.6})
    assert stats == {"loss": 0.3, "accuracy": 70.0, "l2": 1e-2}
    torch.nn.init.normal_(probe.weights[0])
    vectors = torch.randn(5, 7, 3)
    assert torch.allclose(probe(vectors), probe.all_logits(vectors.reshape(-1, 3))[1].reshape(5, 7, 2))


def test_ignored_rows_and_padding_change_nothing():
    probe = Probe(3, list("ab"), ProbeConfig())
    vectors, labels = torch.randn(2, 4, 3), torch.tensor([[0, 1, -1, -1], [1, -1, 0, -1]])
    loss, stats = probe_loss(probe, vectors, labels)
    vectors[labels == -1] = 1e6
    other, _ = probe_loss(probe, vectors, labels)
    assert stats["weight"] == 4 and loss == other


def test_dropout_of_hidden_layers_is_of_training_alone():
    torch.manual_seed(0)
    probe = Probe(4, list("ab"), ProbeConfig(hidden_layers=1, hidden_size=8, dropout=0.5))
    vectors = torch.randn(30, 4)
    assert not torch.equal(probe.train().all_logits(vectors), probe.all_logits(vectors))
    assert torch.equal(probe.eval().all_logits(vectors), probe.all_logits(vectors))


def test_every_row_bears_the_penalty_in_training_alone():
    torch.manual_seed(0)
    probe = Probe(4, list("ab"), ProbeConfig(hidden_layers=1, l2=(0.1,)))
    vectors, labels = torch.randn(30, 4), torch.randint(2, (30,))
    with_penalty, without = (probe_loss(probe.train(mode), vectors, labels)[0] for mode in (True, False))
    torch.testing.assert_close(with_penalty - without, 30 * probe.penalty().sum())


@pytest.mark.parametrize("hidden_layers", [1, 2])
def test_hidden_layers_learn_what_a_linear_probe_cannot(hidden_layers):
    """The sign of a product."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2000, 2)).astype(np.float32)
    labels = (vectors[:, 0] * vectors[:, 1] > 0).astype(np.int64)
    found = {}
    for layers in (0, hidden_layers):
        torch.manual_seed(0)
        probe = Probe(2, list("ab"), ProbeConfig(hidden_layers=layers, hidden_size=32, l2=(1e-5,)))
        probe.set_statistics(Statistics([vectors]))
        fit(probe, vectors, labels, epochs=15, batch=100)
        found[layers] = accuracies(probe, vectors, labels)["correct_0"]
    assert found[0] < 0.7 and found[hidden_layers] > 0.95


def test_a_probe_with_hidden_layers_cannot_be_solved():
    probe = Probe(2, list("ab"), ProbeConfig(hidden_layers=1))
    vectors = np.eye(2, dtype=np.float32)
    with pytest.raises(InputError, match="without hidden layers"):
        solve(probe, vectors, np.array([0, 1]), Statistics([vectors]), 5, torch.device("cpu"))


@pytest.mark.parametrize("layer_sum", ["softmax", "plain"])
def test_layer_weights_find_the_layer_that_knows(layer_sum):
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=2000)
    vectors = rng.standard_normal((2000, 3, 6)).astype(np.float32)
    vectors[:, 1] += 2 * rng.standard_normal((4, 6))[labels]
    probe = Probe(6, list("abcd"), ProbeConfig(l2=(1e-4,), layer_sum=layer_sum), num_layers=3)
    mean = vectors.mean(1)
    statistics = Statistics([mean])
    probe.set_statistics(statistics)
    solve(probe, mean.copy(), labels, statistics, 60, torch.device("cpu"))
    before = accuracies(probe.eval(), vectors, labels)["correct_0"]
    assert torch.allclose(layer_shares(probe.layer_scores[0], layer_sum), torch.full((3,), 1 / 3))
    fit(probe.train(), vectors, labels, epochs=20, batch=100, lr=3e-2)
    assert accuracies(probe, vectors, labels)["correct_0"] > before + 0.02
    mixture = layer_shares(probe.layer_scores[0], layer_sum).detach()
    assert mixture[1] > 3 * mixture[[0, 2]].abs().max()
    assert probe(torch.from_numpy(vectors[:6]).reshape(2, 3, 3, 6)).shape == (2, 3, 4)

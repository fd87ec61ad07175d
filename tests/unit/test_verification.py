"""Equal error rate and detection cost against scikit-learn's ROC, and the command."""

import dataclasses
import json
import tracemalloc

import numpy as np
import pytest
from downstream_data import make_set
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from speechrep.bin import verify
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.io.store import StoreWriter
from speechrep.score.verification import Curve, all_cosines, cosines


@pytest.mark.parametrize("ties", [False, True])
def test_against_scikit_learn(ties):
    rng = np.random.default_rng(0)
    same = rng.random(3000) < 0.3
    scores = rng.standard_normal(3000) + 1.5 * same
    scores = np.round(scores, 1) if ties else scores
    alarms, hits, _ = roc_curve(same, scores, drop_intermediate=False)
    eer = brentq(lambda x: 1 - x - interp1d(alarms, hits)(x), 0, 1)
    found = Curve(scores, same).detection()
    assert found.eer == pytest.approx(100 * eer, abs=0.05)
    assert found.min_dcf == pytest.approx(np.min(0.01 * (1 - hits) + 0.99 * alarms) / 0.01)


def test_weights_are_repetitions():
    rng = np.random.default_rng(0)
    same, weights = rng.random(200) < 0.5, rng.integers(0, 4, 200)
    scores = rng.standard_normal(200) + same
    repeated = Curve(np.repeat(scores, weights), np.repeat(same, weights)).detection()
    assert Curve(scores, same).detection(weights) == pytest.approx(repeated)


def every_threshold(scores, same, weights, prior=0.01):
    """Error rate (where the rates cross, between two thresholds) and cost; all thresholds are tried."""
    rates = []
    for threshold in [-np.inf, *np.unique(scores)]:
        below = scores <= threshold
        misses = weights[below & same].sum() / weights[same].sum()
        rates.append((misses, 1 - weights[below & ~same].sum() / weights[~same].sum()))
    cost = min(prior * misses + (1 - prior) * alarms for misses, alarms in rates) / prior
    after = next(i for i, (misses, alarms) in enumerate(rates) if misses >= alarms)
    (m0, a0), (m1, a1) = rates[after - 1], rates[after]
    return 100 * (m0 + (a0 - m0) / (a0 - m0 + m1 - a1) * (m1 - m0)), cost


def test_thresholds_left_out_do_not_matter():
    rng = np.random.default_rng(0)
    for share in (0.05, 0.1, 0.5, 0.9):
        for digits in (0, 1, 9):
            same, weights = rng.random(300) < share, rng.integers(0, 3, 300)
            scores = np.round(rng.standard_normal(300) + same, digits)
            curve = Curve(scores, same)
            assert curve.detection() == pytest.approx(every_threshold(scores, same, np.ones(300)))
            assert curve.detection(weights) == pytest.approx(every_threshold(scores, same, weights))


@pytest.mark.parametrize("block", [1, 3, 23, 1000])
def test_cosines_by_blocks(block):
    vectors = np.random.default_rng(0).standard_normal((23, 37))
    vectors[5] = vectors[17]  # copies: equal scores must stay equal, or one falls below a threshold
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(23, 1)
    plain = np.einsum("nd,nd->n", vectors[first], vectors[second])
    assert np.array_equal(cosines(vectors, first, second, block), plain)
    scores = all_cosines(vectors, block)
    assert scores == pytest.approx(plain, abs=1e-15)
    table = np.zeros((23, 23))
    table[first, second] = table[second, first] = scores
    assert np.array_equal(np.delete(table[5], [5, 17]), np.delete(table[17], [5, 17]))


def test_vectors_of_all_pairs_are_not_held():
    vectors = np.random.default_rng(0).standard_normal((500, 512))
    first, second = np.triu_indices(500, 1)  # the vectors of these pairs take 1 GB
    for score in (all_cosines, lambda vectors: cosines(vectors, first, second, 64)):
        tracemalloc.start()
        score(vectors)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10e6


def test_the_best_and_the_worst():
    same = np.array([True, False, True, False])
    assert Curve(same.astype(float), same).detection() == (0, 0)
    assert Curve(1 - same.astype(float), same).detection() == (100, 1)
    with pytest.raises(InputError, match="0 of 4 pairs"):
        Curve(np.arange(4.0), np.zeros(4, bool))


def run(labelled, out, *more):
    names = ["--upstream", "fbank", "--features", "fbank80", "--set", "test", "--bootstrap", "50"]
    sets = ["--data", str(labelled[0]), "--data-dir", str(labelled[1])]
    verify.main([*sets, *names, "--out", str(out), *more])
    return {entry["metric"]: entry for entry in json.loads(out.read_text())}


def test_the_centre_of_another_kind_is_refused(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=4, utts=6)
    other = tmp_path / "other.h5"
    store = open_features(labelled[0])
    meta = dataclasses.replace(store.meta, weights_sha256="another")
    with StoreWriter(other, meta, store.utt_ids, store.num_frames.tolist()) as writer:
        for utt_id in store.utt_ids:
            writer.write(utt_id, store.read(utt_id))
    with pytest.raises(InputError, match="weights_sha256"):
        run(labelled, tmp_path / "results.json", "--center-on", str(other))


def moved(labelled, folder, by):
    """The same set, all its vectors moved."""
    store = open_features(labelled[0])
    with StoreWriter(folder / "moved.h5", store.meta, store.utt_ids, store.num_frames.tolist()) as writer:
        for utt_id in store.utt_ids:
            writer.write(utt_id, store.read(utt_id) + by)
    return folder / "moved.h5", labelled[1]


def test_the_centre_is_taken_away(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=4, utts=6)
    far = moved(labelled, tmp_path, np.float32(100) * np.arange(8, dtype=np.float32))
    plain, centred = (
        {metric: entry["value"] for metric, entry in run(data, tmp_path / "results.json", *more).items()}
        for data, more in ((far, ()), (far, ("--center-on", str(far[0]))))
    )
    wanted = run(labelled, tmp_path / "results.json", "--center-on", str(labelled[0]))
    for metric, entry in wanted.items():
        assert centred[metric] == pytest.approx(entry["value"], abs=1e-3)
    assert plain["eer"] != pytest.approx(centred["eer"], abs=1e-3)  # vectors all alike, but for rounding
    aside = run(labelled, tmp_path / "results.json", "--center-on", str(far[0]))  # the mean is that of far
    assert aside["eer"]["value"] != pytest.approx(centred["eer"], abs=1e-3)


def test_the_centre_is_of_the_same_layer(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=4, utts=6)
    store, layered = open_features(labelled[0]), tmp_path / "layers.h5"
    meta = dataclasses.replace(store.meta, layers=(0, 1))
    with StoreWriter(layered, meta, store.utt_ids, store.num_frames.tolist(), 2) as writer:
        for utt_id in store.utt_ids:
            frames = store.read(utt_id)
            writer.write(utt_id, np.stack([np.roll(frames, 3, 0) ** 2, frames], 1))
    wanted, found = (
        run((data, labelled[1]), tmp_path / "results.json", "--center-on", str(data), *more)
        for data, more in ((labelled[0], ()), (layered, ("--layer", "1")))
    )
    assert {metric: entry["value"] for metric, entry in found.items()} == {
        metric: pytest.approx(entry["value"]) for metric, entry in wanted.items()
    }


def test_an_utterance_without_features_is_missed_unless_trials_do_not_name_it(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=2, utts=3)
    with open(labelled[1] / "utt2spk", "a") as stream:
        stream.write("101-7-0003 101-7\n")
    with pytest.raises(InputError, match=r"no features for utterance 101-7-0003"):
        run(labelled, tmp_path / "results.json")
    trials = tmp_path / "trials"
    trials.write_text("1 100-7-0000 100-7-0001\n0 100-7-0000 101-7-0001\n")
    assert run(labelled, tmp_path / "results.json", "--trials", str(trials))["eer"]["n"] == 3


def test_intervals_draw_utterances_a_pair_counts_as_often_as_both_are_drawn(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=3, utts=5, noise=15)
    found = run(labelled, tmp_path / "results.json")
    store = open_features(labelled[0])
    vectors = np.stack([store.read(utt_id).mean(0) for utt_id in store.utt_ids]).astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first, second = np.triu_indices(15, 1)
    scores, same = np.sum(vectors[first] * vectors[second], 1), first // 5 == second // 5
    rng, drawn = np.random.default_rng(0), []
    for _ in range(50):
        times = np.bincount(rng.integers(15, size=15), minlength=15)
        drawn.append(every_threshold(scores, same, times[first] * times[second]))
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    for i, metric in enumerate(("eer", "min_dcf")):
        assert found[metric]["ci95"] == pytest.approx([low[i], high[i]], abs=1e-3)


def test_speakers_are_told_apart(tmp_path, capsys):
    labelled = make_set(tmp_path / "set", speakers=4, utts=6)
    found = run(labelled, tmp_path / "results.json", "--center-on", str(labelled[0]))
    told = capsys.readouterr().err
    assert told.count("24/24 utterances, ") == 2 and "50/50 draws, " in told
    assert found["eer"]["value"] < 20 and found["eer"]["n"] == 24
    assert found["eer"]["ci95"][0] <= found["eer"]["value"] <= found["eer"]["ci95"][1]
    assert 0 <= found["min_dcf"]["value"] <= 1


def test_trials_that_are_all_pairs(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=3, utts=4)
    names = [f"{100 + i // 4}-7-{i % 4:04d}" for i in range(12)]
    pairs = [(one, other) for i, one in enumerate(names) for other in names[i + 1 :]]
    trials = tmp_path / "trials"
    trials.write_text("".join(f"{int(one[:3] == other[:3])} {one} {other}\n" for one, other in pairs))
    named = run(labelled, tmp_path / "named.json", "--trials", str(trials))
    for metric, entry in run(labelled, tmp_path / "all.json").items():
        assert (entry["value"], entry["ci95"]) == (named[metric]["value"], named[metric]["ci95"])


def test_of_a_large_set_the_same_utterances_are_drawn_for_all(tmp_path, monkeypatch, caplog):
    labelled = make_set(tmp_path / "set", speakers=3, utts=5)
    whole = run(labelled, tmp_path / "results.json")["eer"]
    monkeypatch.setattr(verify, "MOST_UTTS", 15)
    assert run(labelled, tmp_path / "results.json")["eer"]["value"] == whole["value"]
    assert "drawn" not in caplog.text
    monkeypatch.setattr(verify, "MOST_UTTS", 12)
    read, vectors = [], verify._vectors
    monkeypatch.setattr(verify, "_vectors", lambda feats, names: read.append(names) or vectors(feats, names))
    with caplog.at_level("INFO"):
        some = [run(labelled, tmp_path / "results.json", "--seed", seed)["eer"] for seed in "12"]
    assert [entry["n"] for entry in some] == [12, 12] and some[0]["value"] == some[1]["value"]
    assert read[0] == read[1] and len(set(read[0])) == 12
    assert "of 15 utterances 12 are drawn" in caplog.text
    trials = tmp_path / "trials"
    others = [(int(i < 5), f"{100 + i // 5}-7-{i % 5:04d}") for i in range(1, 15)]
    trials.write_text("".join(f"{same} 100-7-0000 {other}\n" for same, other in others))
    assert run(labelled, tmp_path / "results.json", "--trials", str(trials))["eer"]["n"] == 15


def test_trials(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=2, utts=3)
    trials = tmp_path / "trials"
    trials.write_text("100-7-0000 100-7-0001 target\n0 100-7-0000 101-7-0001\n")
    entry = run(labelled, tmp_path / "results.json", "--trials", str(trials))["eer"]
    assert entry["value"] in (0, 100) and entry["n"] == 3  # the other utterances have no part in it
    for text, message in [
        ("100-7-0000 x target\n", "trials:1: utterance 'x' has no features"),
        ("100-7-0000 101-7-0001 maybe\n", "trials:1: want"),
        ("", "no trials"),
    ]:
        trials.write_text(text)
        with pytest.raises(InputError, match=message):
            run(labelled, tmp_path / "results.json", "--trials", str(trials))

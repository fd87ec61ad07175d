"""Equal error rate and detection cost against scikit-learn's ROC, and the command."""

import json

import numpy as np
import pytest
from downstream_data import make_set
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve

from speechrep.bin import verify
from speechrep.errors import InputError
from speechrep.score.verification import Curve


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


def test_speakers_are_told_apart(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=4, utts=6)
    found = run(labelled, tmp_path / "results.json", "--center-on", str(labelled[0]))
    assert found["eer"]["value"] < 20 and found["eer"]["n"] == 24
    assert found["eer"]["ci95"][0] <= found["eer"]["value"] <= found["eer"]["ci95"][1]
    assert 0 <= found["min_dcf"]["value"] <= 1


def test_trials(tmp_path):
    labelled = make_set(tmp_path / "set", speakers=2, utts=3)
    trials = tmp_path / "trials"
    trials.write_text("100-7-0000 100-7-0001 target\n0 100-7-0000 101-7-0001\n")
    assert run(labelled, tmp_path / "results.json", "--trials", str(trials))["eer"]["value"] in (0, 100)
    for text, message in [
        ("100-7-0000 x target\n", "trials:1: utterance 'x' has no features"),
        ("100-7-0000 101-7-0001 maybe\n", "trials:1: want"),
        ("", "no trials"),
    ]:
        trials.write_text(text)
        with pytest.raises(InputError, match=message):
            run(labelled, tmp_path / "results.json", "--trials", str(trials))

"""Many commands in one process, and the scoring of a rotation's parts as one set."""

import io
import json

import numpy as np
import pytest
from downstream_data import make_set

from speechrep.bin import many, score
from speechrep.errors import InputError
from speechrep.io.model_files import write_model
from speechrep.io.table import write_table
from speechrep.score.bootstrap import ratio_interval
from speechrep.score.sentiment import MODE_METRICS


def feed(monkeypatch, *lines):
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
    many.main([])


def test_probes_are_trained_decoded_and_scored(tmp_path, monkeypatch):
    for seed, name in enumerate(("train", "valid", "test")):
        make_set(tmp_path / name, seed, utts=6)
    sets = " ".join(
        f"--{name} '{tmp_path}/{name}/feats.h5' --{name}-data {tmp_path}/{name}"
        for name in ("train", "valid")
    )
    feed(
        monkeypatch,
        "# a comment, then an empty line",
        "",
        f"train_downstream --task phone --max-steps 0 --exp-dir {tmp_path}/exp {sets}",
        f"decode --exp-dir {tmp_path}/exp --data {tmp_path}/test/feats.h5 --data-dir {tmp_path}/test "
        f"--out-dir {tmp_path}/exp/decode",
        f"score --task phone --name words --upstream fbank --features x --set test --exp-dir {tmp_path}/exp "
        f"--ref {tmp_path}/exp/decode/ref --hyp {tmp_path}/exp/decode/hyp --out {tmp_path}/results.json",
    )
    (entry,) = json.loads((tmp_path / "results.json").read_text())
    assert entry["task"] == "words" and entry["value"] > 80


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("rm -rf x", r"line 2: no command 'rm', want one of \['decode'"),
        ("score 'x", "line 2: no closing quotation in"),
        ("decode --exp-dir nowhere --data x --data-dir y --out-dir z", "line 2: decode: .*nowhere"),
    ],
)
def test_the_line_that_fails_is_named(monkeypatch, line, told):
    with pytest.raises(InputError, match=told):
        feed(monkeypatch, "", line)


@pytest.fixture
def rotation(tmp_path):
    """Two parts of ten frames each: 6 and 8 right, of the baseline 5 and 5."""
    write_model(tmp_path / "phone", {}, {"task": "phone", "kind": "downstream"})
    ref = " ".join("A" * 10)
    for part, right in (("a", 6), ("b", 8)):
        write_table(tmp_path / f"{part}.ref", {f"{part}1": ref})
        write_table(tmp_path / f"{part}.hyp", {f"{part}1": " ".join("A" * right + "B" * (10 - right))})
        write_table(tmp_path / f"{part}.base", {f"{part}1": " ".join("A" * 5 + "B" * 5)})
    return tmp_path


def scored(folder, *words, parts="ab", task="phone"):
    files = [
        word for kind in ("ref", "hyp") for word in (f"--{kind}", *(f"{folder}/{p}.{kind}" for p in parts))
    ]
    about = ["--task", task, "--exp-dir", str(folder / task), "--upstream", "apc", "--features", "x"]
    score.main([*about, *files, "--set", "test", "--out", str(folder / "results.json"), *words])
    return {entry["metric"]: entry for entry in json.loads((folder / "results.json").read_text())}


def test_parts_of_a_rotation_are_one_set(rotation):
    found = scored(rotation)["accuracy"]
    assert (found["value"], found["n"], found["ci95"]) == (70.0, 2, [60.0, 80.0])
    with pytest.raises(InputError, match=r"a\.ref: utterance a1 is in an earlier file too"):
        scored(rotation, parts="aa")


def test_the_seed_is_that_of_the_model(rotation):
    write_model(rotation / "phone", {}, {"task": "phone", "kind": "downstream", "train": {"seed": 3}})
    assert scored(rotation)["accuracy"]["seed"] == 3
    assert scored(rotation, "--seed", "7")["accuracy"]["seed"] == 7


def test_a_difference_draws_the_same_utterances_of_both(rotation):
    base = ["--baseline-hyp", str(rotation / "a.base"), str(rotation / "b.base")]
    found = scored(rotation, "--baseline", "fbank", *base)["accuracy - fbank"]
    # Unpaired, the interval would be as wide as the accuracy's; both ends are a part drawn twice.
    assert found["value"] == pytest.approx(20) and found["ci95"] == pytest.approx([10, 30])
    with pytest.raises(InputError, match="--baseline-hyp: 1 files, but --ref has 2"):
        scored(rotation, *base[:2])
    write_table(rotation / "b.other", {"b2": "A"})
    with pytest.raises(InputError, match="no utterance b1"):
        scored(rotation, *base[:2], str(rotation / "b.other"))


def test_parts_of_words_are_one_set_of_utterances(tmp_path):
    write_model(tmp_path / "asr", {}, {"task": "asr", "kind": "downstream"})
    for part, ref, hyp in (("a", "ONE TWO SIX", "ONE TO SIX TEN"), ("b", "TEN", "TEN")):
        write_table(tmp_path / f"{part}.ref", {f"{part}1": ref})
        write_table(tmp_path / f"{part}.hyp", {f"{part}1": hyp})
    found = scored(tmp_path, task="asr")
    assert {metric: (entry["value"], entry["n"], entry["better"]) for metric, entry in found.items()} == {
        "wer": (50.0, 2, "lower"), "cer": (pytest.approx(100 * 5 / 14), 2, "lower"),
    }  # fmt: skip
    with pytest.raises(InputError, match="differences are of accuracies, asr has none"):
        scored(tmp_path, "--baseline-hyp", *(f"{tmp_path}/{part}.hyp" for part in "ab"), task="asr")


@pytest.mark.parametrize("mode", MODE_METRICS)
def test_figures_of_sentiment_are_those_of_the_models_mode(mode, tmp_path):
    write_model(
        tmp_path / "sentiment", {}, {"task": "sentiment", "kind": "downstream", "config": {"mode": mode}}
    )
    values = {"a": ({"a1": "1", "a2": "-2"}, {"a1": "1.5", "a2": "0"}), "b": ({"b1": "3"}, {"b1": "2"})}
    for part, (truths, preds) in values.items():
        write_table(tmp_path / f"{part}.ref", truths)
        write_table(tmp_path / f"{part}.hyp", preds)
    found = scored(tmp_path, task="sentiment")
    assert list(found) == list(MODE_METRICS[mode])
    assert found["acc2"]["value"] == pytest.approx(100 * 2 / 3) and found["acc2"]["n"] == 3


def test_as_many_draws_as_are_asked_for(tmp_path):
    write_model(tmp_path / "phone", {}, {"task": "phone", "kind": "downstream"})
    right = np.arange(11)
    for name, labels in (("ref", ["A" * 10] * 11), ("hyp", ["A" * n + "B" * (10 - n) for n in right])):
        write_table(tmp_path / f"a.{name}", {f"{i:02d}": " ".join(text) for i, text in enumerate(labels)})
    for draws in (10, 37):
        found = scored(tmp_path, "--bootstrap", str(draws), parts="a")["accuracy"]
        low, high = ratio_interval(right, np.full(11, 10), replications=draws)
        assert found["ci95"] == [100 * low, 100 * high]
    with pytest.raises(InputError, match="--bootstrap: want at least 10 draws, got 9"):
        scored(tmp_path, "--bootstrap", "9", parts="a")

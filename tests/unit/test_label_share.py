"""Accuracy against the share of labels: trials, their summary, and going on where it was left."""

import dataclasses
import json
import math

import numpy as np
import pytest
from downstream_data import META, make_set

from speechrep.bin import label_share as command
from speechrep.data.features import open_features
from speechrep.errors import InputError
from speechrep.io.store import StoreWriter
from speechrep.report.label_share import Trial, markdown, summarise


def test_mean_and_spread_over_seeds():
    trials = [Trial("apc", 0.1, 4, seed, value) for seed, value in ((1, 50.0), (2, 54.0))]
    points = summarise([Trial("apc", 1.0, 40, 1, 70.0), *trials])
    first, last = points["apc"]
    assert (first.proportion, first.mean, first.seeds) == (0.1, 52.0, 2)
    assert first.spread == pytest.approx(math.sqrt(8)) and math.isnan(last.spread)
    assert markdown(points).splitlines() == [
        "| representation | 10 % (4 utt.) | 100 % (40 utt.) |",
        "| --- | --- | --- |",
        "| apc | 52.0 ± 2.8 | 70.0 |",
    ]


def test_the_command(tmp_path, capsys):
    for seed, name in enumerate(("train", "valid", "test")):
        path, _ = make_set(tmp_path / "data" / name, seed, utts=8)
        target = tmp_path / "reps" / "fbank" / f"{name}.h5"
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    out_dir = tmp_path / "out"

    def run(*more):
        folders = [
            "--reps",
            str(tmp_path / "reps"),
            "--data",
            str(tmp_path / "data"),
            "--out-dir",
            str(out_dir),
        ]
        sets = ["--train", "train", "--valid", "valid", "--test", "test"]
        command.main(["--upstreams", "fbank", *folders, *sets, *more])
        return json.loads((out_dir / "label_share.json").read_text())

    found = run("--proportions", "0.05 1", "--seeds", "1 2")
    trials = [Trial(*row) for row in found["trials"]]
    assert [(t.proportion, t.seed, t.num_utts) for t in trials] == [
        (0.05, 1, 1),
        (0.05, 2, 1),
        (1, 1, 24),  # nothing is drawn: once is enough
    ]
    assert min(t.accuracy for t in trials[2:]) > max(t.accuracy for t in trials[:2])
    assert "| fbank |" in capsys.readouterr().out
    assert (out_dir / "label_share.png").read_bytes().startswith(b"\x89PNG")
    more = run("--proportions", "0.05 0.5 1", "--seeds", "1 2")
    assert more["trials"][:3] == found["trials"] and len(more["trials"]) == 5
    store = tmp_path / "reps/fbank/train.h5"
    for seed, name in enumerate(("train", "valid", "test")):  # other vectors at the same place
        path, _ = make_set(
            tmp_path / "other" / name, seed, utts=8, meta=dataclasses.replace(META, norm_vars=False)
        )
        path.replace(store.with_name(f"{name}.h5"))
    anew = run("--proportions", "0.05 1", "--seeds", "1 2")
    assert len(anew["trials"]) == 3 and anew["vectors"]["fbank"]["norm_vars"] is False
    with pytest.raises(InputError, match=r"label_share\.json: holds trials with other options"):
        run("--classes", "41")
    with pytest.raises(InputError, match="only linear probes"):
        run("--hidden-layers", "1")
    with pytest.raises(InputError, match="only stored representations"):
        run("--pretrained", "exp/apc")


@pytest.mark.parametrize(
    "change",
    [{"trials": 3}, {"trials": [["apc", 0.1, 4, 1]]}, {"trials": [["apc", 0.1, 4, 1, "50"]]},
     {"trials": [["apc", 0.1, 4, 1, 500.0]]}, {"vectors": [1]}, {"vectors": {"apc": 1}}],
)  # fmt: skip
def test_damaged_trials_are_told(tmp_path, change):
    good = {"format": command.FORMAT, "options": {}, "trials": [["apc", 0.1, 4, 1, 50.0]], "vectors": {}}
    path = tmp_path / "label_share.json"
    path.write_text(json.dumps(good))
    assert command._known(path, {}) == ([Trial("apc", 0.1, 4, 1, 50.0)], {})
    path.write_text(json.dumps(good | change))
    with pytest.raises(InputError, match="its trials are damaged"):
        command._known(path, {})


def test_folds_are_scored_as_one_and_rows_may_be_layers(tmp_path):
    path, data_dir = make_set(tmp_path / "data/all", 0, speakers=3, utts=4)
    reader = open_features(path)
    for name in ("fbank", "apc"):
        target = tmp_path / f"reps/{name}/all.h5"
        target.parent.mkdir(parents=True)
        meta = dataclasses.replace(reader.meta, layers=(0, 1) if name == "apc" else (0,))
        with StoreWriter(
            target, meta, reader.utt_ids, reader.num_frames.tolist(), 2 * (name == "apc")
        ) as store:
            for utt_id in reader.utt_ids:
                feats = reader.read(utt_id)
                store.write(utt_id, np.stack([0 * feats, feats], 1) if name == "apc" else feats)
    (tmp_path / "folds").mkdir()
    speakers = ("100", "101", "102")
    for i, speaker in enumerate(speakers):
        for part, who in zip(
            ("test", "valid", "train"), (speaker, speakers[i - 1], speakers[i - 2]), strict=True
        ):
            listed = [utt_id for utt_id in reader.utt_ids if utt_id.startswith(who)]
            (tmp_path / f"folds/{speaker}.{part}").write_text("\n".join(listed) + "\n")
    words = [
        "--reps",
        str(tmp_path / "reps"),
        "--data",
        str(data_dir.parent),
        "--out-dir",
        str(tmp_path / "out"),
    ]
    words += ["--upstreams", "fbank apc_layer0 apc_layer1", "--proportions", "0.5 1", "--seeds", "1"]
    command.main([*words, "--folds", str(tmp_path / "folds"), "--test", "all", "--layer", "last"])
    found = [Trial(*row) for row in json.loads((tmp_path / "out/label_share.json").read_text())["trials"]]
    assert [trial.num_utts for trial in found] == [2, 4] * 3
    fbank, silent, layer1 = (found[i].accuracy for i in (1, 3, 5))
    assert layer1 == fbank > silent + 20
    with pytest.raises(InputError, match=r"holds no NAME\.test"):
        command.main([*words, "--folds", str(tmp_path), "--test", "all"])
    with pytest.raises(InputError, match="--train: names no set"):
        command.main([*words, "--test", "all"])

"""Accuracy against the share of labels: trials, their summary, and going on where it was left."""

import json
import math

import pytest
from downstream_data import make_set

from speechrep.bin import label_share as command
from speechrep.errors import InputError
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
        (1, 1, 24),
        (1, 2, 24),
    ]
    assert min(t.accuracy for t in trials[2:]) > max(t.accuracy for t in trials[:2])
    assert "| fbank |" in capsys.readouterr().out
    assert (out_dir / "label_share.png").read_bytes().startswith(b"\x89PNG")
    more = run("--proportions", "0.05 0.5 1", "--seeds", "1 2")
    assert more["trials"][:4] == found["trials"] and len(more["trials"]) == 6
    with pytest.raises(InputError, match=r"label_share\.json: holds trials with other options"):
        run("--classes", "41")
    with pytest.raises(InputError, match="only linear probes"):
        run("--hidden-layers", "1")
    with pytest.raises(InputError, match="only stored representations"):
        run("--pretrained", "exp/apc")

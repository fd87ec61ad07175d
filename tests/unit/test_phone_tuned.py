"""The pre-trained model inside the phone task: frozen it is the dump, tuned it changes, late if told."""

import json

import numpy as np
import pytest
import torch
from downstream_data import META, make_set

import speechrep
from speechrep.bin import decode, dump, train_downstream
from speechrep.errors import InputError
from speechrep.io.model_files import read_model
from speechrep.io.table import read_table
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import CONFIGS, build

OPTIONS = "--l2 1e-4 --lr 3e-2 --weight-decay 0 --valid-interval 10 --save-interval 10 --batch-frames 400"
STEPS = OPTIONS.split()


def save_apc(folder):
    torch.manual_seed(0)
    save_model(folder, build("apc", CONFIGS["apc"](hidden_size=16, num_layers=2), META))
    return folder


def save_mockingjay(folder):
    torch.manual_seed(0)
    small = {
        "hidden_size": 8,
        "num_layers": 1,
        "num_heads": 2,
        "ffn_size": 16,
        "downsample": 3,
        "init_std": 0.3,
    }
    save_model(folder, build("mockingjay", CONFIGS["mockingjay"](**small), META))
    return folder


def run(task_dir, labelled, *more):
    feats, data = map(str, labelled)
    sets = ["--train", feats, "--train-data", data, "--valid", feats, "--valid-data", data]
    train_downstream.main(["--task", "phone", *sets, "--exp-dir", str(task_dir), *more])
    out_dir = task_dir / "decode"
    decode.main(["--exp-dir", str(task_dir), "--data", feats, "--data-dir", data, "--out-dir", str(out_dir)])
    return read_table(out_dir / "hyp")


def accuracy(task_dir):
    return json.loads((task_dir / "model.json").read_text())["valid"]["accuracy"]


def test_frozen_inside_is_the_dump(tmp_path):
    labelled, apc = make_set(tmp_path / "set"), save_apc(tmp_path / "apc")
    dump.main(["--upstream", str(apc), "--feats-dir", str(labelled[0]), "--out", str(tmp_path / "x.h5")])
    outside = run(tmp_path / "outside", (tmp_path / "x.h5", labelled[1]), "--max-steps", "0")
    inside = run(tmp_path / "inside", labelled, "--max-steps", "0", "--pretrained", str(apc))
    labels = [np.array(" ".join(hyp[u] for u in sorted(hyp)).split()) for hyp in (outside, inside)]
    assert (labels[0] == labels[1]).mean() > 0.98  # the order of the training vectors differs


def test_tuning_changes_the_model_and_helps(tmp_path):
    labelled, apc = make_set(tmp_path / "set", noise=1.0), save_apc(tmp_path / "apc")
    before = read_model(apc)[0]
    more = ["--pretrained", str(apc), "--fine-tune", "true"]
    run(tmp_path / "none", labelled, *STEPS, *more, "--max-steps", "0")
    run(tmp_path / "tuned", labelled, *STEPS, *more, "--max-steps", "60")
    assert accuracy(tmp_path / "tuned") > accuracy(tmp_path / "none") + 1
    after = read_model(tmp_path / "tuned")[0]
    assert any(not np.array_equal(value, after[f"upstream.{name}"]) for name, value in before.items())
    assert (
        speechrep.load(apc).weights_sha256 == read_model(apc)[1]["weights_sha256"]
    )  # the original is not touched


def test_tuning_begins_when_told(tmp_path):
    labelled, apc = make_set(tmp_path / "set", noise=1.0), save_apc(tmp_path / "apc")
    before = read_model(apc)[0]
    more = ["--pretrained", str(apc), "--fine-tune", "true", "--fine-tune-after", "20", "--lr", "1e-1"]
    changed = {}
    for steps in (20, 30):
        task_dir = tmp_path / f"s{steps}"
        run(task_dir, labelled, *STEPS, *more, "--max-steps", str(steps))
        states = sorted(task_dir.glob("checkpoints/step-*.pt"), key=lambda path: int(path.stem.split("-")[1]))
        state = torch.load(states[-1], weights_only=True)["model"]
        assert int(state["steps"]) == steps
        changed[steps] = any(
            not np.array_equal(value, state[f"upstream.{name}"].numpy()) for name, value in before.items()
        )
    assert changed == {20: False, 30: True}


def test_a_down_sampling_model_with_mixed_layers(tmp_path):
    labelled = make_set(tmp_path / "set")
    model = save_mockingjay(tmp_path / "mj")
    hyps = run(tmp_path / "exp", labelled, *STEPS, "--pretrained", str(model), "--mix-layers", "true",
               "--fine-tune", "true", "--max-steps", "4")  # fmt: skip
    ref = read_table(tmp_path / "exp" / "decode" / "ref")
    full = {u: len(v.split()) for u, v in ref.items()}
    assert {u: len(v.split()) for u, v in hyps.items()} == full and max(full.values()) < 60


def test_refusals(tmp_path):
    labelled, apc = make_set(tmp_path / "set"), save_apc(tmp_path / "apc")
    with pytest.raises(InputError, match="give --pretrained"):
        run(tmp_path / "a", labelled, "--max-steps", "0", "--fine-tune", "true")
    with pytest.raises(InputError, match="give one value when fine-tuning"):
        run(tmp_path / "b", labelled, "--max-steps", "0", "--fine-tune", "true", "--pretrained", str(apc))
    dump.main(["--upstream", str(apc), "--feats-dir", str(labelled[0]), "--out", str(tmp_path / "x.h5")])
    with pytest.raises(InputError, match=r"x\.h5: holds representations of apc"):
        run(tmp_path / "c", (tmp_path / "x.h5", labelled[1]), "--max-steps", "0", "--pretrained", str(apc))

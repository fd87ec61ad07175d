"""The pre-trained model inside any task: frozen it is the dump, tuned it changes, late if told."""

import json
import os
import shutil
import socket
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from downstream_data import META, make_set

import speechrep
from speechrep.bin import decode, dump, train_downstream
from speechrep.data.features import open_features
from speechrep.downstream.base import TaskConfig
from speechrep.downstream.inside import TunedTask, WithUpstream, pool_batch
from speechrep.downstream.layer_sum import learned_weights
from speechrep.downstream.speaker import pool
from speechrep.errors import InputError
from speechrep.io.model_files import read_model
from speechrep.io.table import read_table, write_table
from speechrep.upstream.checkpoint import save_model
from speechrep.upstream.registry import CONFIGS, build
from speechrep.upstream.represented import Represented

REPOSITORY = Path(__file__).parents[2]
TASKS = {
    "phone": "--task phone --l2 1e-4 --max-frames 400",
    "speaker, pooled": "--task speaker --l2 1e-3 --pooling mean+std --max-frames 400",
    "speaker, frames": "--task speaker --model frames --l2 1e-3 --max-frames 400",
    "speaker, gru": "--task speaker --model gru --hidden-size 8 --max-frames 400",
    "sentiment": "--task sentiment --hidden-size 8 --max-frames 400",
    "asr": "--task asr --hidden-size 8 --num-layers 1 --stack 2 --max-frames 400",
}
STEPS = "--lr 3e-2 --weight-decay 0.1 --valid-interval 10 --save-interval 10 --log-interval 100"


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    feats, data = make_set(tmp_path_factory.mktemp("set"), noise=1.0, utts=5)
    ids = read_table(data / "utt2spk")
    write_table(data / "utt2sentiment", {utt_id: f"{i % 7 - 3}" for i, utt_id in enumerate(ids)})
    write_table(data / "text", {utt_id: "AB"[i % 2] * (1 + i % 3) for i, utt_id in enumerate(ids)})
    return feats, data


@pytest.fixture(scope="module")
def apc(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("apc")
    save_model(folder, build("apc", CONFIGS["apc"](hidden_size=16, num_layers=2), META))
    return folder


def save_mockingjay(folder):
    torch.manual_seed(0)
    small = {"hidden_size": 8, "num_layers": 2, "num_heads": 2, "ffn_size": 16, "downsample": 3}
    save_model(folder, build("mockingjay", CONFIGS["mockingjay"](init_std=0.3, **small), META))
    return folder


def words(task, labelled, task_dir, *more):
    feats, data = map(str, labelled)
    sets = ["--train", feats, "--train-data", data, "--valid", feats, "--valid-data", data]
    return [*TASKS[task].split(), *sets, *STEPS.split(), "--exp-dir", str(task_dir), *map(str, more)]


def run(task, labelled, task_dir, *more):
    train_downstream.main(words(task, labelled, task_dir, *more))
    out_dir, (feats, data) = task_dir / "decode", map(str, labelled)
    decode.main(["--exp-dir", str(task_dir), "--data", feats, "--data-dir", data, "--out-dir", str(out_dir)])
    return read_table(out_dir / "hyp", allow_empty=True)


def states(task_dir):
    paths = sorted(task_dir.glob("checkpoints/step-*.pt"), key=lambda path: int(path.stem.split("-")[1]))
    return [torch.load(path, weights_only=True)["model"] for path in paths]


def is_changed(apc, state):
    return any(
        not np.array_equal(value, state[f"upstream.{name}"].numpy())
        for name, value in read_model(apc)[0].items()
    )


@pytest.mark.parametrize("task", TASKS)
def test_frozen_inside_is_the_dump(tmp_path, labelled, apc, task):
    store = tmp_path / "x.h5"
    dump.main(["--upstream", str(apc), "--feats-dir", str(labelled[0]), "--out", str(store)])
    trained = task in ("speaker, gru", "sentiment", "asr")  # the others are solved, and that is all
    steps = ["--max-steps", 10 if trained else 0]
    outside = run(task, (store, labelled[1]), tmp_path / "outside", *steps)
    inside = run(task, labelled, tmp_path / "inside", *steps, "--pretrained", apc)
    weights = [read_model(tmp_path / name)[0] for name in ("outside", "inside")]
    assert set(weights[0]) == {name[5:] for name in weights[1] if name.startswith("head.")}
    for name, value in weights[0].items() if trained else ():
        np.testing.assert_allclose(weights[1][f"head.{name}"], value, atol=2e-3)
    assert not is_changed(apc, {name: torch.from_numpy(value) for name, value in weights[1].items()})
    pairs = [pair for u in outside for pair in zip(outside[u].split(), inside[u].split(), strict=True)]
    if task == "sentiment":
        assert all(float(a) == pytest.approx(float(b), abs=1e-2) for a, b in pairs)
    else:  # the order of the vectors that a probe was solved on may differ
        assert np.mean([a == b for a, b in pairs]) > 0.98


@pytest.mark.parametrize("training", [True, False])
def test_what_is_read_through_a_model_knows_no_dropout(labelled, training):
    """Nor does reading change whether the model is being trained."""
    model = build("apc", CONFIGS["apc"](hidden_size=16, num_layers=2, dropout=0.5), META).train(training)
    reader = Represented(open_features(labelled[0]), model)
    once, again = (reader.read(reader.utt_ids[0]) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    assert model.training == training


@pytest.mark.parametrize("task", TASKS)
def test_tuning_begins_when_told(tmp_path, labelled, apc, task):
    more = ["--pretrained", apc, "--fine-tune", "true", "--fine-tune-after", 10, "--schedule", "constant"]
    exp_dir = tmp_path / "exp"
    run(task, labelled, exp_dir, *more, "--max-steps", 11, "--save-interval", 10, "--keep-last", 2)
    changed = [is_changed(apc, state) for state in states(exp_dir)]
    assert changed == [False, True]  # by the very next step; weight decay, too, leaves a frozen model alone
    assert speechrep.load(apc).weights_sha256 == read_model(apc)[1]["weights_sha256"]  # the original stays


def test_a_frozen_model_inside_is_never_in_training():
    apc = build("apc", CONFIGS["apc"](hidden_size=8, num_layers=1), META)
    for tuning in (False, True):
        config = TaskConfig(pretrained="apc", fine_tune=tuning)
        inside = WithUpstream(apc, torch.nn.Linear(8, 2), config).train()
        assert inside.head.training and apc.training == tuning
        assert all(parameter.requires_grad == tuning for parameter in apc.parameters())
        assert not inside.eval().head.training and not apc.training


def test_what_is_compiled_is_what_is_called():
    """The losses of tasks go past ``forward`` of their models, but through the upstream's layers."""
    config = CONFIGS["mockingjay"](hidden_size=8, num_heads=2, ffn_size=8, num_layers=2)
    mockingjay = build("mockingjay", config, META)
    inside = WithUpstream(mockingjay, torch.nn.Linear(8, 2), TaskConfig(pretrained="x", fine_tune=True))
    task = types.SimpleNamespace(model=inside)
    assert TunedTask.parts_to_compile(task) == list(mockingjay.layers)


def test_the_models_own_learning_rate(tmp_path, labelled, apc):
    more = ["--pretrained", apc, "--fine-tune", "true", "--weight-decay", 0, "--max-steps", 3]
    for share in ("0", "1"):
        run("phone", labelled, tmp_path / share, *more, "--fine-tune-lr", share)
    assert [is_changed(apc, states(tmp_path / share)[-1]) for share in ("0", "1")] == [False, True]


def test_tuning_helps(tmp_path, labelled, apc):
    more = ["--pretrained", apc, "--fine-tune", "true", "--fine-tune-lr", "0.1", "--weight-decay", 0]
    accuracy = {}
    for steps in (0, 60):
        run("phone", labelled, tmp_path / f"s{steps}", *more, "--max-steps", steps)
        accuracy[steps] = json.loads((tmp_path / f"s{steps}/model.json").read_text())["valid"]["accuracy"]
    assert accuracy[60] > accuracy[0] + 1


@pytest.mark.parametrize("task", ["phone", "speaker, pooled", "sentiment", "asr"])
def test_a_down_sampling_model_with_mixed_layers(tmp_path, labelled, task):
    model = save_mockingjay(tmp_path / "mj")
    more = ["--pretrained", model, "--mix-layers", "true", "--fine-tune", "true", "--max-steps", 4]
    hyps = run(task, labelled, tmp_path / "exp", *more)
    ref = read_table(tmp_path / "exp/decode/ref")
    assert {u: len(v.split()) for u, v in hyps.items()} == {u: len(v.split()) for u, v in ref.items()}
    weights = learned_weights(tmp_path / "exp").values()
    assert len(weights) == 2 and sum(weights) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("task", ["phone", "speaker, gru", "asr"])
def test_two_processes_tune_as_one(tmp_path, labelled, apc, task):
    """An odd number of batches leaves one process without any in an epoch's last step."""
    more = ["--pretrained", apc, "--fine-tune", "true", "--fine-tune-after", 3, "--schedule", "constant"]
    more += ["--weight-decay", 0, "--max-steps", 7, "--lr", "3e-3"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        master = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "speechrep.bin.train_downstream"]
    nodes = [
        subprocess.Popen(
            command + words(task, labelled, tmp_path / "two", *more, "--num-nodes", 2, "--node-rank", rank,
                            "--master", master),
            cwd=REPOSITORY, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    told = [node.communicate(timeout=300)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], told
    train_downstream.main(words(task, labelled, tmp_path / "one", *more, "--accumulate", 2))
    one, two = (states(tmp_path / name)[-1] for name in ("one", "two"))
    assert is_changed(apc, one) and is_changed(apc, two)
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=5e-3, rtol=1e-2)


@pytest.mark.parametrize("task", ["speaker, pooled", "sentiment"])
def test_a_share_of_the_utterances(tmp_path, labelled, task, caplog):
    with caplog.at_level("INFO"):
        run(task, labelled, tmp_path / "exp", "--max-steps", 2, "--train-proportion", 0.4)
    assert "train-proportion 0.4: 6 of 15 utterances" in caplog.text  # two of each speaker's five
    with pytest.raises(InputError, match=r"train-proportion is 2\.0"):
        run(task, labelled, tmp_path / "bad", "--max-steps", 2, "--train-proportion", 2)


@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
def test_pooling_a_padded_batch_is_pooling_each_utterance(pooling):
    rng = np.random.default_rng(0)
    utterances = [rng.standard_normal((length, 2, 3)).astype(np.float32) for length in (4, 7, 1)]
    batch = torch.zeros(3, 9, 2, 3)
    for row, utterance in zip(batch, utterances, strict=True):
        row[: len(utterance)] = torch.from_numpy(utterance)
    pooled = pool_batch(batch.requires_grad_(), torch.tensor([4, 7, 1]), pooling)
    want = np.stack([pool(utterance, pooling) for utterance in utterances])
    np.testing.assert_allclose(pooled.detach(), want, atol=2e-6)
    pooled.sum().backward()
    assert batch.grad.isfinite().all()  # of a single frame's deviation, too


def test_a_short_training_tunes_its_second_half(tmp_path, labelled, apc, caplog):
    """As on a small share of the labels, where an epoch is a few steps."""
    more = ["--pretrained", apc, "--fine-tune", "true", "--fine-tune-after", 10, "--max-steps", 10]
    run("phone", labelled, tmp_path / "exp", *more, "--save-interval", 5, "--schedule", "constant")
    assert "training ends after 10 steps; the model inside joins after 5" in caplog.text
    middle, last = states(tmp_path / "exp")
    assert not is_changed(apc, middle) and is_changed(apc, last)


def test_another_model_inside_is_no_continuation(tmp_path, labelled, apc):
    source = tmp_path / "apc"
    shutil.copytree(apc, source)
    more = ["--pretrained", source, "--max-steps", 0]
    run("speaker, pooled", labelled, tmp_path / "exp", *more)
    run("speaker, pooled", labelled, tmp_path / "exp", *more)  # finished
    torch.manual_seed(1)
    save_model(source, build("apc", CONFIGS["apc"](hidden_size=16, num_layers=2), META))
    with pytest.raises(InputError, match=r"exp: was trained with another model inside than .*apc is now"):
        run("speaker, pooled", labelled, tmp_path / "exp", *more)


def test_layer_weights_of_a_model_inside_are_of_that_model(tmp_path, labelled, apc):
    more = ["--pretrained", apc, "--mix-layers", "true", "--max-steps", 1]
    run("speaker, gru", labelled, tmp_path / "exp", *more)
    words = ["--feats-dir", str(labelled[0]), "--out", str(tmp_path / "x.h5"), "--layer-weights-from",
             str(tmp_path / "exp")]  # fmt: skip
    dump.main(["--upstream", str(apc), *words])
    torch.manual_seed(1)
    save_model(tmp_path / "other", build("apc", CONFIGS["apc"](hidden_size=16, num_layers=2), META))
    with pytest.raises(InputError, match="was trained on layers of another model"):
        dump.main(["--upstream", str(tmp_path / "other"), *words])


def test_refusals(tmp_path, labelled, apc):
    with pytest.raises(InputError, match="give --pretrained"):
        run("phone", labelled, tmp_path / "a", "--max-steps", 0, "--fine-tune", "true")
    with pytest.raises(InputError, match="give one value when fine-tuning"):
        run(
            "phone", labelled, tmp_path / "b", "--l2", "1e-3 1e-4", "--fine-tune", "true", "--pretrained", apc
        )
    dump.main(["--upstream", str(apc), "--feats-dir", str(labelled[0]), "--out", str(tmp_path / "x.h5")])
    with pytest.raises(InputError, match=r"x\.h5: holds representations of apc"):
        run("speaker, gru", (tmp_path / "x.h5", labelled[1]), tmp_path / "c", "--pretrained", apc)
    run("phone", labelled, tmp_path / "d", "--max-steps", 0)
    with pytest.raises(InputError, match="holds a downstream phone model, want an upstream"):
        run("sentiment", labelled, tmp_path / "e", "--pretrained", tmp_path / "d")

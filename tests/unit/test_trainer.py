"""The trainer: exact to resume, exact over processes, loud when it diverges."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from toy_task import ToyTask

from speechrep.errors import InputError
from speechrep.io.model_files import read_model
from speechrep.train import checkpoint, distributed
from speechrep.train.config import TrainConfig
from speechrep.train.divergence import Watch
from speechrep.train.forward import Forward
from speechrep.train.log import TrainLog
from speechrep.train.trainer import Interrupted, Trainer, train

CPU = torch.device("cpu")
CONFIG = TrainConfig(
    max_steps=23, lr=1e-2, valid_interval=6, save_interval=5, log_interval=4, keep_last=3, accumulate=2
)


def state_of(folder: Path) -> dict:
    return checkpoint.load_state(checkpoint.saved_states(folder / "checkpoints")[-1])


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    else:
        assert a == b


def test_learns_logs_and_keeps_the_best(tmp_path):
    best = train(ToyTask(), CONFIG, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "train_log.jsonl").read_text().splitlines()]
    valid = [line["loss"] for line in lines if line["part"] == "valid"]
    assert valid[-1] < 0.93 * valid[0]
    assert best["loss"] == min(valid)
    assert [line["step"] for line in lines if line["part"] == "train"] == [4, 8, 12, 16, 20, 23]
    weights, info = read_model(tmp_path)
    assert info["kind"] == "toy" and info["valid"] == best and weights["0.weight"].shape == (8, 4)
    assert len(checkpoint.saved_states(tmp_path / "checkpoints")) == 3
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert train(ToyTask(), CONFIG, tmp_path) == best  # finished: returns at once


def killed(at: int, kind: type[ToyTask] = ToyTask, **options: Any) -> ToyTask:
    """A task during whose batch ``at``, of those of this process, SIGTERM comes."""

    class Killed(kind):
        def loss(self, batch):
            if self.model.training and len(self.seen) == at:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().loss(batch)

    return Killed(**options)


def begun(task: ToyTask, config: TrainConfig, folder: Path) -> Trainer:
    """A trainer that has read what it goes on from and trains nothing yet."""
    trainer = Trainer(task, config, folder, CPU)
    trainer.log.close()
    return trainer


@pytest.mark.parametrize(("num_workers", "average_last"), [(0, 3), (2, 0)])
def test_resumed_after_sigterm_is_bit_identical(tmp_path, num_workers, average_last):
    config = dataclasses.replace(CONFIG, average_last=average_last)
    train(ToyTask(), config, tmp_path / "whole")
    for at in (5, 19, 16):  # micro-batches, of each process, at which the signal comes; three interruptions
        with pytest.raises(Interrupted) as status:
            train(killed(at, num_workers=num_workers), config, tmp_path / "parts")
        assert status.value.code == 75
    train(ToyTask(num_workers), config, tmp_path / "parts")
    assert_same(state_of(tmp_path / "whole"), state_of(tmp_path / "parts"))
    whole, parts = (read_model(tmp_path / name)[1] for name in ("whole", "parts"))
    assert whole["weights_sha256"] == parts["weights_sha256"] and whole["step"] == parts["step"]
    assert losses(tmp_path / "whole", "valid") == losses(tmp_path / "parts", "valid")


def start_script(folder: Path, text: str, *launcher: str, **options: Any) -> subprocess.Popen:
    """Run ``text`` by Python, in a process group of its own, with what is in its braces filled in."""
    here = Path(__file__).parent
    script = folder / "script.py"
    script.write_text(text.format(here=str(here), **options))
    environment = os.environ | {"PYTHONPATH": str(here.parent.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *launcher, str(script)], env=environment, start_new_session=True)


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")


GROUP = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it would be ignored
sys.path.insert(0, {here!r})
from toy_task import ToyTask
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train
long = TrainConfig(max_steps=10**6, save_interval=10**6, valid_interval=10**6, log_interval=1)
train(ToyTask(2), long, {out!r})
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_the_whole_group_saves_too(tmp_path, number, hangup_heard):
    """As launchers, timeout, Slurm and a terminal send it: to those that read the data as well."""
    process = start_script(tmp_path, GROUP, out=str(tmp_path / "exp"))
    log, deadline = tmp_path / "exp/train_log.jsonl", time.monotonic() + 60
    while not log.exists() or log.read_text().count("train") < 3:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, number)
    try:
        assert process.wait(60) == (-number if number == signal.SIGINT else 75)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert len(checkpoint.saved_states(tmp_path / "exp/checkpoints")) == 1
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nobody is left


BROKEN = """
import sys
sys.path.insert(0, {here!r})
from toy_task import ToyTask
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train
class Broken(ToyTask):
    def loss(self, batch):
        raise RuntimeError("out of memory, say")
train(Broken(2), TrainConfig(max_steps=9), {out!r})
"""


def test_an_error_ends_the_processes_that_read_too(tmp_path):
    process = start_script(tmp_path, BROKEN, out=str(tmp_path / "exp"))
    try:
        assert process.wait(60) == 1
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def losses(folder, part, value="loss"):
    lines = [json.loads(line) for line in (folder / "train_log.jsonl").read_text().splitlines()]
    return [(line["step"], line[value]) for line in lines if line["part"] == part]


def test_early_stopping_and_zero_steps(tmp_path):
    config = TrainConfig(max_steps=200, lr=0.5, valid_interval=2, patience=2, schedule="constant")
    train(ToyTask(), config, tmp_path / "a")
    done = json.loads((tmp_path / "a/checkpoints/finished.json").read_text())
    assert done["step"] < 200 and done["step"] == done["best_step"] + 4
    (tmp_path / "a/checkpoints/finished.json").unlink()  # as a kill just before it leaves it
    train(ToyTask(), config, tmp_path / "a")
    assert json.loads((tmp_path / "a/checkpoints/finished.json").read_text()) == done
    task = ToyTask()
    before = task.model[0].weight.detach().clone().numpy()
    train(task, TrainConfig(max_steps=0), tmp_path / "b")
    assert (read_model(tmp_path / "b")[0]["0.weight"] == before).all()


def test_patience_counts_anew_after_every_better_result(tmp_path):
    told = iter([5.0, 6.0, 4.0, 5.0, 3.0, 4.0, 4.0])

    class Told(ToyTask):
        def loss(self, batch):
            if self.model.training:
                return super().loss(batch)
            return torch.tensor(next(told)), {"weight": 1}

    config = TrainConfig(max_steps=20, valid_interval=1, patience=2)
    train(Told(max_frames=1000), config, tmp_path)  # the whole validation set is one batch
    done = json.loads((tmp_path / "checkpoints/finished.json").read_text())
    assert (done["best_step"], done["step"]) == (4, 6)


def test_the_first_of_equals_stays_the_best_over_an_interruption(tmp_path):
    config = dataclasses.replace(CONFIG, lr=0.0)
    with pytest.raises(Interrupted):
        train(killed(9), config, tmp_path)
    best = train(ToyTask(), config, tmp_path)
    assert json.loads((tmp_path / "checkpoints/finished.json").read_text())["best_step"] == 0
    assert best["loss"] == losses(tmp_path, "valid")[0][1]


def test_a_resumed_log_forgets_what_came_after(tmp_path):
    """In the file and in TensorBoard; a line is in the file as soon as it is told."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first_step, steps in ((0, (1, 2, 3, 4)), (2, (3,))):
        log = TrainLog(tmp_path, 10, first_step, enabled=True)
        for step in steps:
            log.write("train", step, 0, {"loss": 100.0 * first_step + step})
            assert losses(tmp_path, "train")[-1] == (step, 100 * first_step + step)
        log.close()
    assert losses(tmp_path, "train") == [(1, 1), (2, 2), (3, 203)]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("train/loss")]
    assert shown == [(1, 1), (2, 2), (3, 203)]


def test_a_board_that_cannot_be_closed_hides_no_other_error(tmp_path, monkeypatch):
    """Of a full disk TensorBoard tells once more, without the name of a file."""
    log = TrainLog(tmp_path, 10, 0, enabled=True)
    monkeypatch.setattr(log._board, "close", full_disk)
    log.close()


def full_disk():
    raise OSError(28, "No space left on device")


def test_a_line_tells_figures_and_the_time_that_is_left(tmp_path, caplog):
    log = TrainLog(tmp_path, 10, 0, enabled=True)
    with caplog.at_level("INFO"):
        log.write("train", 3, 1, {"loss": 1.23456, "frames_per_s": 12345.6}, 3725.9)
        log.write("valid", 3, 1, {"loss": 0.0001234})
    log.close()
    assert caplog.messages == [
        "train step 3/10 epoch 1 loss 1.235 frames_per_s 12346 eta 1:02:05",
        "valid step 3/10 epoch 1 loss 0.0001234 eta 1:02:05",  # a recipe shows the last line of a log
    ]


def test_a_terminal_gets_a_count_and_what_was_validated_above_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    log = TrainLog(tmp_path, 10, 2, enabled=True)
    log.advance()
    log.write("train", 3, 1, {"loss": 1.23456, "frames_per_s": 12345.6}, 3725.9)
    log.write("valid", 3, 1, {"loss": 0.0001234})
    log.close()
    above, count = capsys.readouterr().err.split("\r\x1b[K")[1:3]
    assert above == "valid step 3/10 epoch 1 loss 0.0001234\n"
    assert count.startswith("3/10 steps, ") and count.endswith(", loss 1.2346, 12346 frames/s")


@pytest.mark.parametrize(
    ("name", "value"),
    [*((name, 0) for name in ("accumulate", "valid_interval", "save_interval", "log_interval", "keep_last")),
     *((name, -1) for name in ("seed", "max_epochs", "warmup_steps", "patience", "average_last")),
     *((name, np.nan) for name in ("lr", "grad_clip", "weight_decay")), ("warmup_share", 1.5)],
)  # fmt: skip
def test_options_without_sense_are_told_before_anything_is_trained(name, value):
    with pytest.raises(InputError, match=f"{name.replace('_', '-')} is {value}, want "):
        TrainConfig(**{name: value})


def test_gpus_that_are_not_there_are_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for available in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda available=available: available)
        distributed.require_gpus(0)
        with pytest.raises(InputError, match="has 2" if available else "PyTorch sees no GPU"):
            distributed.require_gpus(3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    distributed.require_gpus(2)


class Draws(ToyTask):
    """Notes a random number in each batch of training and of validation."""

    def __init__(self):
        super().__init__()
        self.drawn = {True: [], False: []}

    def loss(self, batch):
        self.drawn[self.model.training].append(torch.rand(()).item())
        return super().loss(batch)


def test_training_draws_anew_in_each_batch_and_validation_the_same_each_time(tmp_path):
    task, other = Draws(), Draws()
    train(task, CONFIG, tmp_path / "a")
    train(other, dataclasses.replace(CONFIG, seed=2), tmp_path / "b")
    drawn = task.drawn[True]
    assert len(set(drawn)) == len(drawn) > 40
    assert not set(drawn) & set(other.drawn[True])
    batches = len(list(task.valid_loader().epoch(0)))
    valid = task.drawn[False]
    assert valid == valid[:batches] * 5 and len(set(valid)) == batches > 1
    assert not set(valid) & set(other.drawn[False])


def test_the_model_computes_in_the_format_that_was_asked_for():
    class Looks(ToyTask):
        def loss(self, batch):
            return self.model(batch["feats"]).sum(), {}

    task = Looks()
    batch = next(task.train_loader().epoch(0))
    for precision, wanted in (("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)):
        forward = Forward(task, dataclasses.replace(CONFIG, precision=precision), CPU, exchange=True)
        for loss, _ in (forward.train(batch, 0, 0), forward.validate(batch, 0)):
            assert loss.dtype == wanted


def test_an_empty_batch_weighs_nothing():
    """The gradient of a step is divided by the weight of all processes, of which some may have none."""
    loss, stats = Forward(ToyTask(), CONFIG, CPU, exchange=True).train({}, 0, 0)
    assert loss.item() == 0 and loss.requires_grad and stats == {"weight": 0}


def test_of_several_bad_steps_the_first_is_told(tmp_path):
    """A GPU is asked after many steps, and all that follow the first bad one are bad, too."""
    watch = Watch(tmp_path)
    for step, loss in ((1, 0.0), (2, float("nan")), (3, float("nan"))):
        watch.add(step, [f"utt{step}"], torch.tensor(loss), torch.tensor(loss))
    with pytest.raises(InputError, match="at step 2, utterances utt2 "):
        watch.check()


def test_a_nan_names_step_utterances_and_last_good_state(tmp_path):
    task = ToyTask(max_frames=40, poison="utt7")
    config = TrainConfig(max_steps=100, save_interval=4)
    with pytest.raises(InputError, match=r"step \d+.*utt7") as error:
        train(task, config, tmp_path)
    saved = checkpoint.saved_states(tmp_path / "checkpoints")
    assert str(saved[-1] if saved else "none") in str(error.value)


class Broken(ToyTask):
    """Whose gradient, or validation of one utterance, memory or number format, breaks after some batches."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def loss(self, batch):
        loss, stats = super().loss(batch)
        if len(self.seen) > 12:
            if self.what == "gradient" and self.model.training:
                loss = loss + (self.model[0].weight.sum() * 0).abs().sqrt()  # 0, but its slope is not finite
            if self.what == "validation" and not self.model.training and "utt3" in batch["utt_ids"]:
                loss = loss * float("inf")
            if self.what == "memory" and self.model.training:
                raise torch.OutOfMemoryError("tried to allocate 9 GiB")
            if self.what == "fp16":
                raise RuntimeError("could not create a primitive descriptor for the LSTM")
        return loss, stats


@pytest.mark.parametrize(
    ("what", "precision", "told"),
    [
        ("gradient", "fp32", r"the training loss or gradient is not finite at step \d, utterances utt"),
        ("gradient", "fp16", r"the training loss or gradient is not finite at step 5\d, utterances utt"),
        ("validation", "fp32", r"the validation loss .* at step 6, utterances (utt\d )*utt3\b"),
        ("memory", "fp32", r"out of memory at step \d, utterances utt.*9 GiB.*--max-frames"),
        ("fp16", "fp16", "this processor has no fp16 for a layer of this model.*--precision fp32"),
    ],
)
def test_what_breaks_is_told_with_step_and_utterances(tmp_path, what, precision, told):
    config = dataclasses.replace(CONFIG, max_steps=200, precision=precision)
    with pytest.raises(InputError, match=told):
        train(Broken(what), config, tmp_path)
    for line in (tmp_path / "train_log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)  # NaN is no JSON


def test_a_validation_set_of_which_nothing_counts_is_refused(tmp_path):
    """A loss of 0, which none improves."""

    class Nothing(ToyTask):
        def loss(self, batch):
            loss, stats = super().loss(batch)
            return loss * self.model.training, stats | {"weight": stats["weight"] * self.model.training}

    with pytest.raises(InputError, match="nothing of the validation set is in the loss"):
        train(Nothing(), CONFIG, tmp_path)


def test_a_damaged_checkpoint_is_named_with_the_one_before(tmp_path):
    train(ToyTask(), CONFIG, tmp_path)
    *_, older, newest = checkpoint.saved_states(tmp_path / "checkpoints")
    whole = checkpoint.load_state(newest)
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    (tmp_path / "checkpoints/finished.json").unlink()
    with pytest.raises(InputError, match=newest.name) as error:
        train(ToyTask(), CONFIG, tmp_path)
    assert older.name in str(error.value)
    newest.write_bytes(data[:100])
    with pytest.raises(InputError, match=newest.name):
        train(ToyTask(), CONFIG, tmp_path)
    newest.unlink()  # as it says
    train(ToyTask(), CONFIG, tmp_path)
    assert_same(checkpoint.load_state(newest), whole)


class Uneven(ToyTask):
    """Its epochs have different numbers of batches."""

    def __init__(self):
        super().__init__(max_frames=2444)
        rng = np.random.default_rng(0)
        lens = 3 + rng.gamma(4, 30, 800).astype(int)
        self.data.utts = [rng.normal(size=(length, 4)).astype(np.float32) for length in lens]
        self.data.num_frames = [len(utt) for utt in self.data.utts]


def test_a_resumed_run_of_epochs_ends_where_the_whole_one_does(tmp_path):
    config = dataclasses.replace(
        CONFIG, max_steps=-1, max_epochs=4, accumulate=1, valid_interval=1000, save_interval=1000
    )
    loader = Uneven().train_loader()
    counts = [loader.num_batches(epoch) for epoch in range(4)]
    assert len(set(counts)) > 1
    train(Uneven(), config, tmp_path / "whole")
    for at in (counts[0] + 5, sum(counts[:3]) - 3):
        with pytest.raises(Interrupted):
            train(killed(at, Uneven), config, tmp_path / f"{at}")
        train(Uneven(), config, tmp_path / f"{at}")
        assert_same(state_of(tmp_path / "whole"), state_of(tmp_path / f"{at}"))


@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (4, 1)])
@pytest.mark.parametrize("own_batches", [3, None])
def test_epochs_are_as_many_with_another_number_of_processes(tmp_path, monkeypatch, first, then, own_batches):
    """Here one process at a time plays the first of several: what counts is when its run ends."""
    config = dataclasses.replace(CONFIG, max_steps=-1, max_epochs=4, accumulate=1)
    world = first
    monkeypatch.setattr("speechrep.train.distributed.world_size", lambda: world)
    monkeypatch.setattr("speechrep.train.distributed.gather", lambda value: [value])
    monkeypatch.setattr("torch.nn.parallel.DistributedDataParallel", lambda loss, **_: loss)

    def batches(epoch):
        return Uneven().train_loader().num_batches(epoch)

    earlier = begun(Uneven(), config, tmp_path)
    assert earlier.total_steps == 4 * batches(0)
    done = own_batches or batches(1)  # of the second epoch, also all of it, with fillers
    step = batches(0) + done
    earlier.progress = dataclasses.replace(earlier.progress, step=step, epoch=1, batches=done * first)
    earlier._save()
    world = then
    again = begun(Uneven(), config, tmp_path)
    left = max(0, batches(1) - done * first // then)
    assert again.total_steps == step + left + 2 * batches(0)
    assert again.progress.batches == done * first // then * then  # rather some twice than some not at all
    again._save()
    assert begun(Uneven(), config, tmp_path).total_steps == again.total_steps  # and so it stays


def test_accumulated_small_batches_have_the_gradient_of_one_large(tmp_path):
    frames = sum(ToyTask().data.num_frames)
    one = TrainConfig(max_steps=1, lr=1e-2, optimizer="sgd", warmup_share=0, grad_clip=0, accumulate=1)
    train(Unmasked(max_frames=40 * frames), one, tmp_path / "one")
    many = TrainConfig(max_steps=1, lr=1e-2, optimizer="sgd", warmup_share=0, grad_clip=0, accumulate=1000)
    train(Unmasked(max_frames=50), many, tmp_path / "many")
    for name, value in state_of(tmp_path / "one")["model"].items():
        torch.testing.assert_close(value, state_of(tmp_path / "many")["model"][name])


class Steep(ToyTask):
    def loss(self, batch):
        loss, stats = super().loss(batch)
        return 100 * loss, stats


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_step_is_no_longer_than_its_clipped_gradient(tmp_path, precision):
    """Plain gradient descent: the weights move by the learning rate times the gradient."""
    options = {
        "precision": precision,
        "max_steps": 1,
        "lr": 0.1,
        "optimizer": "sgd",
        "warmup_share": 0,
        "weight_decay": 0,
        "log_interval": 1,
    }
    before = torch.cat([p.detach().flatten().clone() for p in ToyTask().model.parameters()])
    moved = {}
    for clip in (0.0, 1e-3):
        task = Steep()
        train(task, TrainConfig(**options, grad_clip=clip), tmp_path / str(clip))
        moved[clip] = float(
            (torch.cat([p.detach().flatten() for p in task.model.parameters()]) - before).norm()
        )
    norms = [losses(tmp_path / str(clip), "train", "grad_norm")[0][1] for clip in moved]
    assert norms[0] == norms[1] > 5  # as it was before clipping
    assert moved[0.0] == pytest.approx(0.1 * norms[0], rel=1e-3)
    assert moved[1e-3] == pytest.approx(0.1 * 1e-3, rel=1e-2)


class Deep(ToyTask):
    """Mockingjay of twelve layers, whose first gradients are small."""

    def __init__(self):
        super().__init__()
        self.model = models.model(
            "mockingjay", dim=160, num_layers=12, hidden_size=96, num_heads=4, ffn_size=96, downsample=3,
            init_std=0.02, target_dim=300,
        )  # fmt: skip

    def loss(self, batch):
        return self.model.pretrain_loss(*batch["feats"], batch["targets"])


def test_gradients_in_fp16_are_those_in_fp32(tmp_path):
    """The first scale lifts them out of where the format has few digits, or none."""
    feats = models.batch([300, 200], dim=160)
    data = {"feats": feats, "feat_lens": feats[1], "targets": torch.randn(*feats[0].shape[:2], 300)}
    found = {}
    for precision in ("fp32", "fp16"):
        trainer = begun(Deep(), TrainConfig(precision=precision, grad_clip=0), tmp_path / precision)
        trainer._step([data])
        found[precision] = {name: p.grad for name, p in trainer.model.named_parameters() if p.ndim > 1}
    for name, wanted in found["fp32"].items():
        assert (found["fp16"][name] - wanted).norm() < 0.05 * wanted.norm(), name


def test_no_state_of_a_model_that_is_not_finite_is_kept(tmp_path):
    """A step may have been too long although its gradient was finite."""
    options = {"lr": 1e38, "optimizer": "sgd", "schedule": "constant", "warmup_share": 0, "grad_clip": 0}
    config = dataclasses.replace(CONFIG, save_interval=1, valid_interval=100, weight_decay=0, **options)
    with pytest.raises(InputError, match=r"the model is not finite at step 1.*last good checkpoint: none"):
        train(Steep(), config, tmp_path)
    assert not checkpoint.saved_states(tmp_path / "checkpoints")


def test_other_training_data_at_the_same_place_is_no_continuation(tmp_path):
    begun(ToyTask(), CONFIG, tmp_path)._save()
    task = ToyTask()
    del task.data.utts[-1], task.data.num_frames[-1]
    with pytest.raises(InputError, match=r"is of 40 utterances, \d+ frames, .* are now 39 utterances, "):
        begun(task, CONFIG, tmp_path)


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    (tmp_path / ".model.safetensors.77.tmp").write_bytes(b"half")
    begun(ToyTask(), CONFIG, tmp_path)
    assert not list(tmp_path.glob(".*"))


def test_the_scale_of_fp16_is_gone_on_with(tmp_path):
    config = dataclasses.replace(CONFIG, precision="fp16")
    earlier = begun(ToyTask(), config, tmp_path)
    earlier.scaler.load_state_dict(earlier.scaler.state_dict() | {"scale": 4.0})
    earlier._save()
    assert begun(ToyTask(), config, tmp_path).scaler.state_dict()["scale"] == 4


def test_warm_up_in_steps(tmp_path):
    options = {"lr": 0.01, "schedule": "constant", "log_interval": 1}
    train(ToyTask(), TrainConfig(max_steps=5, warmup_steps=4, **options), tmp_path)
    rates = [lr for _, lr in losses(tmp_path, "train", "lr")]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01])


def test_the_mean_of_the_last_states_is_tried(tmp_path):
    config = dataclasses.replace(CONFIG, keep_last=4, average_last=3, schedule="constant", lr=5e-2)
    task = ToyTask()
    best = train(task, config, tmp_path)
    saved = checkpoint.saved_states(tmp_path / "checkpoints")[-3:]
    states = [checkpoint.load_state(path)["model"] for path in saved]
    mean = checkpoint.average_weights(saved)
    for name, value in mean.items():
        torch.testing.assert_close(value, sum(state[name] for state in states) / 3)
    assert_same(dict(task.model.state_dict()), mean)  # validated last
    (*_, before, after) = losses(tmp_path, "valid")
    assert before[0] == after[0] == 23 and after[1] != before[1]
    assert best["loss"] == min(loss for _, loss in losses(tmp_path, "valid"))
    with pytest.raises(InputError, match="keep-last"):
        dataclasses.replace(CONFIG, average_last=4)


class Unmasked(ToyTask):
    def __init__(self, max_frames):
        super().__init__(dropout=0.0, max_frames=max_frames)

    def loss(self, batch):
        hidden = self.model(batch["feats"][:, :-1])
        mask = torch.arange(hidden.shape[1])[None] < (batch["feat_lens"] - 1)[:, None]
        return ((hidden - batch["feats"][:, 1:]).abs().mean(-1) * mask).sum(), {"weight": mask.sum()}


RANKS = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
from toy_task import ToyTask
from speechrep.train import distributed
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train
device = distributed.start(0)
config = TrainConfig(**{options!r})
train(ToyTask(max_frames=60), config, {out!r}, device=device)
distributed.stop()
left = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in left), left  # they could abort the process at its exit
"""


def test_two_processes_equal_one_with_the_same_global_batch(tmp_path):
    # plain gradient descent, nothing clipped: a factor on the gradient is not lost in the update
    options = {
        "max_steps": 9, "lr": 1e-2, "optimizer": "sgd", "grad_clip": 0, "valid_interval": 4,
        "save_interval": 9, "log_interval": 3,
    }  # fmt: skip
    process = start_script(tmp_path, RANKS, *TORCHRUN, options=options, out=str(tmp_path / "two"))
    try:
        assert process.wait(120) == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    train(ToyTask(max_frames=60), TrainConfig(**options, accumulate=2), tmp_path / "one")
    one, two = state_of(tmp_path / "one")["model"], state_of(tmp_path / "two")["model"]
    for name, value in one.items():  # same dropout and masks too: they are seeded by batch, not by process
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    for part, value in (("valid", "loss"), ("train", "grad_norm")):
        pairs = zip(*(losses(tmp_path / name, part, value) for name in ("one", "two")), strict=True)
        for (step, a), (other, b) in pairs:
            assert step == other and a == pytest.approx(b, rel=1e-4)


PROCESSES = """
import sys
sys.path.insert(0, {here!r})
from toy_task import ToyTask
from speechrep.train import distributed
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train
device = distributed.start(0)
long = TrainConfig(max_steps=10**6, save_interval=10**6, valid_interval=10**6, log_interval=1)
train(ToyTask(), long, {out!r}, device=device)
"""


FULL = """
from speechrep.train import checkpoint
def save_state(*_):
    raise OSError(28, "No space left on device")
checkpoint.save_state = save_state
"""


@pytest.mark.parametrize(("before", "status"), [("", 75), (FULL, 1)])
def test_sigterm_to_several_processes_saves_once(tmp_path, before, status):
    launcher = ("-m", "speechrep.train.launch", *TORCHRUN[2:])
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    process = start_script(tmp_path, before + PROCESSES, *launcher, out=str(tmp_path / "exp"))
    signal.signal(signal.SIGHUP, hangup)
    log, deadline = tmp_path / "exp/train_log.jsonl", time.monotonic() + 90
    try:
        while not log.exists() or log.read_text().count("train") < 3:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)  # torchrun hands it on to both
        assert process.wait(90) == status
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    if status == 1:
        assert not checkpoint.saved_states(tmp_path / "exp/checkpoints")
        return
    (saved,) = checkpoint.saved_states(tmp_path / "exp/checkpoints")
    state = checkpoint.load_state(saved)
    assert state["world_size"] == 2 and state["progress"]["step"] == int(saved.stem.split("-")[1])

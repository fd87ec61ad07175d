"""The recogniser: padding, alignment limits, storing, learning and decoding."""

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from speechrep.config import from_dict
from speechrep.data.batches import Segment
from speechrep.downstream import asr
from speechrep.downstream.asr_config import AsrConfig, AsrDecodeConfig
from speechrep.downstream.asr_data import frames_needed, labelled_dataset, transcripts
from speechrep.downstream.asr_decode import decode
from speechrep.downstream.asr_encoder import reverse_frames, stack_frames
from speechrep.downstream.asr_model import Recogniser, ctc_loss
from speechrep.downstream.base import Labelled, Loading
from speechrep.downstream.spec_augment import spec_augment
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.text.registry import train_tokenizer
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train

ABC = train_tokenizer("char", ["ABC"], 0, "here")
SMALL = AsrConfig(num_layers=2, hidden=12, stack=3, dropout=0.1, max_frames=600)


class Memory:
    """A FeatureReader of arrays."""

    def __init__(self, arrays, name="feats"):
        self.path, self.arrays, self.utt_ids = Path(name), arrays, sorted(arrays)
        self.num_frames = np.array([len(arrays[utt_id]) for utt_id in self.utt_ids])
        self.meta = FeatureMeta("fbank", {}, 6, 10.0, 16000)

    def read(self, utt_id, start=0, stop=None):
        return self.arrays[utt_id][start:stop]


def spoken(text, generator, dim=6, frames=9):
    """A made-up voice: each character is its own pattern for some frames, with noise."""
    patterns = np.random.default_rng(0).normal(size=(128, dim))
    frames = [np.tile(patterns[ord(c)], (generator.integers(frames, frames + 4), 1)) for c in text]
    speech = np.concatenate([np.zeros((4, dim)), *frames, np.zeros((4, dim))])
    return (speech + 0.1 * generator.normal(size=speech.shape)).astype(np.float32)


def make_set(folder, count, seed):
    generator = np.random.default_rng(seed)
    texts = {
        f"u{i:03}": " ".join("".join(generator.choice(list("ABC"), size=2, replace=False)) for _ in range(2))
        for i in range(count)
    }
    folder.mkdir()
    (folder / "text").write_text("".join(f"{utt_id} {text}\n" for utt_id, text in texts.items()))
    (folder / "utt2spk").write_text("".join(f"{utt_id} s\n" for utt_id in texts))
    return Labelled(Memory({utt_id: spoken(text, generator) for utt_id, text in texts.items()}), folder)


def recogniser(layers=0, **changes):
    torch.manual_seed(0)
    return Recogniser(from_dict(AsrConfig, {**vars(SMALL), **changes}, "test"), ABC, 6, layers, 10.0).eval()


@pytest.mark.parametrize("layers", [0, 2])
def test_an_utterance_comes_out_the_same_alone_and_padded_with_anything(layers):
    model = recogniser(layers)
    lens = torch.tensor([31, 3, 44, 20])
    feats = torch.randn(4, 50, *([layers] if layers else []), 6) * 3
    together, out_lens = model(feats, lens)
    assert out_lens.tolist() == [10, 1, 14, 6]
    for row, length, out, out_len in zip(feats, lens, together, out_lens, strict=True):
        alone, alone_len = model(row[None, :length], length[None])
        assert alone_len == out_len
        torch.testing.assert_close(alone[0], out[:out_len], rtol=1e-5, atol=1e-6)


def test_stacking_and_reversing():
    feats = torch.arange(7.0)[None, :, None]
    stacked, lens = stack_frames(feats, torch.tensor([5]), 2)
    assert stacked.tolist() == [[[0, 1], [2, 3], [4, 5]]] and lens.tolist() == [2]
    assert reverse_frames(feats, torch.tensor([5]))[0, :, 0].tolist() == [4, 3, 2, 1, 0, 5, 6]


def test_stack_follows_the_frame_shift_if_left_open():
    shifts = {10.0: 3, 12.5: 2, 30.0: 1, 50.0: 1}
    assert {s: Recogniser(AsrConfig(), ABC, 6, 0, s).encoder.stack for s in shifts} == shifts


def test_loss_is_minus_log_of_the_summed_alignments_and_ignores_padding():
    log_probs = torch.randn(2, 5, 3, dtype=torch.float64).log_softmax(-1)
    lens, labels, label_lens = torch.tensor([5, 3]), torch.tensor([[1, 1], [2, 0]]), torch.tensor([2, 1])
    want = 0.0
    for row, n, ids, k in zip(log_probs, lens, labels, label_lens, strict=True):
        total = sum(
            float(row[range(n), path].sum().exp())
            for path in itertools.product(range(3), repeat=int(n))
            if [u for u, _ in itertools.groupby(path) if u] == ids[:k].tolist()
        )
        want -= np.log(total)
    assert float(ctc_loss(log_probs, lens, labels, label_lens)) == pytest.approx(want, rel=1e-5)
    log_probs[1, 3:] = 7.0
    labels[1, 1] = 1
    assert float(ctc_loss(log_probs, lens, labels, label_lens)) == pytest.approx(want, rel=1e-5)


def test_augmentation_hides_spans_within_its_limits_and_leaves_padding_to_itself():
    torch.manual_seed(1)
    feats, lens = torch.ones(64, 100, 20), torch.full((64,), 60)
    masked = spec_augment(feats, lens, time_masks=1, time_width=50, freq_masks=0, freq_width=0)
    hidden = (masked == 0).all(2).sum(1)
    assert hidden.max() <= 12 and hidden.float().mean() > 3  # at most 0.2 of 60, on average half of that
    assert (masked[:, 60:] == 1).all() and (feats == 1).all()
    masked = spec_augment(feats, lens, time_masks=0, time_width=0, freq_masks=2, freq_width=4)
    assert 1 < (masked == 0).all(1).sum(1).float().mean() < 8
    torch.testing.assert_close(spec_augment(feats, lens, 0, 9, 0, 9), feats)


def test_frames_needed_counts_the_blank_between_equal_units():
    assert [frames_needed(ids) for ids in ([], [1], [1, 1], [1, 2, 2, 2])] == [0, 1, 3, 6]


def test_transcripts_too_long_to_align_are_listed_or_refused(tmp_path, caplog):
    texts = {"u1": "AB", "u2": "AA", "u3": "ABAB"}
    feats = Memory({utt_id: np.zeros((8, 6), np.float32) for utt_id in texts})
    tokenizer = train_tokenizer("char", list(texts.values()), 0, "here")

    def dataset(too_long, wanted):
        lens = recogniser().encoder.out_lens
        return labelled_dataset(feats, wanted, tokenizer, lens, too_long, "data/train/text")

    with caplog.at_level(logging.WARNING):
        kept = dataset("skip", texts)
    assert kept.utt_ids == ["u1"]
    assert "data/train/text: 2 utterances" in caplog.text and "u2 (3 needed, 2 there), u3 (4" in caplog.text
    with pytest.raises(InputError, match="first u2"):
        dataset("refuse", texts)
    with pytest.raises(InputError, match="1 utterances have too few"):
        dataset("skip", {"u3": "ABAB"})


def test_transcripts_need_features_and_features_without_one_are_told(tmp_path, caplog):
    labelled = make_set(tmp_path / "set", 3, 0)
    (tmp_path / "set" / "text").write_text("u000 A\nu009 B\n")
    with pytest.raises(InputError, match=r"feats: no features for utterance u009 of .*text, 1 absent"):
        transcripts(labelled)
    (tmp_path / "set" / "text").write_text("u000 A\n")
    with caplog.at_level(logging.WARNING):
        assert transcripts(labelled) == {"u000": "A"}
    assert "2 utterances have no transcript" in caplog.text


def test_batches_hold_the_labels_of_their_utterances(tmp_path):
    labelled = make_set(tmp_path / "set", 3, 0)
    tokenizer = train_tokenizer("char", ["ABC "], 0, "here")
    lens = recogniser().encoder.out_lens
    dataset = labelled_dataset(labelled.feats, transcripts(labelled), tokenizer, lens, "skip", "here")
    batch = dataset.collate([dataset[Segment(index, 0, 0)] for index in (2, 0)])
    assert batch["utt_ids"] == ["u002", "u000"]
    for utt_id, ids, n in zip(batch["utt_ids"], batch["labels"], batch["label_lens"], strict=True):
        assert tokenizer.decode(ids[:n].tolist()) == transcripts(labelled)[utt_id]


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A tiny recogniser trained on made-up speech, its test set and where it is stored."""
    folder = tmp_path_factory.mktemp("asr")
    sets = [make_set(folder / name, count, seed) for seed, (name, count) in enumerate(
        [("train", 60), ("valid", 10), ("test", 10)])]  # fmt: skip
    torch.manual_seed(0)
    task = asr.AsrTask(SMALL, sets[0], sets[1], Loading())
    config = TrainConfig(max_steps=90, lr=2e-2, valid_interval=45, log_interval=45)
    return task, train(task, config, folder / "exp"), sets[2], folder


def test_it_learns_to_recognise_and_reports_error_rates(experiment):
    _, stats, _, _ = experiment
    assert stats["ter"] < 2 and stats["wer"] < 5
    assert {"loss", "ter", "wer"} <= stats.keys() and "words" not in stats


def test_stored_and_loaded_it_decodes_the_same(experiment, tmp_path):
    task, _, test, _ = experiment
    model = asr.load(task.describe())
    model.load_state_dict(task.model.state_dict())
    results = {}
    for name, used in (("here", task.model), ("loaded", model)):
        for method in ("greedy", "ctc-beam"):
            out = tmp_path / f"{name}-{method}"
            decode(used, test, out, AsrDecodeConfig(method=method, nbest=3))
            results[name, method] = [(out / file).read_text() for file in ("hyp", "nbest", "ref")]
    assert results["here", "greedy"] == results["loaded", "greedy"]
    assert results["here", "ctc-beam"] == results["loaded", "ctc-beam"]
    hyp, nbest, ref = results["here", "ctc-beam"]
    assert ref == (test.data_dir / "text").read_text()
    wrong = sum(one != other for one, other in zip(hyp.splitlines(), ref.splitlines(), strict=True))
    assert wrong <= 1
    assert nbest.splitlines()[0].split(" ", 2)[0] == "u000-1"


def test_decoding_does_not_depend_on_the_batches(experiment, tmp_path):
    task, _, test, _ = experiment
    texts = []
    for frames in (1, 10_000):
        decode(task.model, test, tmp_path / str(frames), AsrDecodeConfig(batch_frames=frames))
        texts.append((tmp_path / str(frames) / "hyp").read_text())
    assert texts[0] == texts[1]


def test_decoding_a_set_without_transcripts_writes_no_reference(experiment, tmp_path):
    task, _, test, _ = experiment
    (tmp_path / "data").mkdir()
    decode(task.model, test._replace(data_dir=tmp_path / "data"), tmp_path / "out", AsrDecodeConfig())
    assert (tmp_path / "out" / "hyp").is_file() and not (tmp_path / "out" / "ref").exists()


def test_bad_decoding_options_are_refused(experiment, tmp_path):
    task, _, test, _ = experiment
    with pytest.raises(InputError, match="beam is 0"):
        decode(task.model, test, tmp_path, AsrDecodeConfig(beam=0))

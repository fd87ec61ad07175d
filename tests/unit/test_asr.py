"""The recogniser: padding, alignment limits, storing, learning and decoding."""

import dataclasses
import itertools
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from speechrep.config import from_dict
from speechrep.data.batches import Segment
from speechrep.data.padded import stack_frames
from speechrep.decode.hypothesis import Hypothesis
from speechrep.decode.lm import LmConfig
from speechrep.decode.lm_task import LmBatches
from speechrep.decode.ngram import estimate, ngram_sentences, write_arpa
from speechrep.downstream import asr, asr_attention
from speechrep.downstream.asr_config import AsrConfig, AsrDecodeConfig
from speechrep.downstream.asr_data import frames_needed, labelled_dataset, transcripts
from speechrep.downstream.asr_decode import Searcher, decode, recognise, write_results
from speechrep.downstream.asr_decoder import decoder_targets
from speechrep.downstream.asr_encoder import reverse_frames, sinusoids
from speechrep.downstream.asr_input import InputLayer
from speechrep.downstream.asr_model import Recogniser, attention_greedy, ctc_loss
from speechrep.downstream.base import Labelled, Loading, with_features
from speechrep.downstream.registry import TASKS
from speechrep.downstream.spec_augment import spec_augment
from speechrep.downstream.warp import shortest, warp
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.table import read_table, write_table
from speechrep.score.edit import count_errors
from speechrep.score.wer import read_text
from speechrep.text.registry import train_tokenizer
from speechrep.train.config import TrainConfig
from speechrep.train.trainer import train

ABC = train_tokenizer("char", ["ABC"], 0, "here")
SMALL = AsrConfig(num_layers=2, hidden_size=12, stack=3, dropout=0.1, max_frames=600)


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
    config = from_dict(AsrConfig, {**vars(SMALL), **changes}, "test")
    return Recogniser(config, ABC, InputLayer(6, layers, 10.0)).eval()


VARIANTS = [
    {},
    {"subsample": (2, 1), "subsample_by": "drop", "projection": 10},
    {"subsample": (1, 2), "subsample_by": "concat"},
    {"encoder": "transformer", "hidden_size": 16, "num_heads": 2},
    {"encoder": "vgg-blstm", "ctc_weight": 0.5},
    {"ctc_weight": 0.0, "attention": "dot"},
]


@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_an_utterance_comes_out_the_same_alone_and_padded_with_anything(changes, layers):
    model = recogniser(layers, **changes)
    lens = torch.tensor([31, 8, 44, 20])
    feats = torch.randn(4, 50, *([layers] if layers else []), 6) * 3
    labels, label_lens = (
        torch.tensor([[2, 3, 4], [2, 0, 0], [4, 4, 2], [3, 2, 0]]),
        torch.tensor([3, 1, 3, 2]),
    )
    hiddens, out_lens = model.encode(feats, lens)
    assert out_lens.tolist() == model.out_lens(lens).tolist()
    for row in range(4):
        alone, alone_len = model.encode(feats[row : row + 1, : lens[row]], lens[row : row + 1])
        n = int(out_lens[row])
        assert alone.shape[1] == alone_len[0] == n
        torch.testing.assert_close(alone[0], hiddens[row, :n], rtol=1e-4, atol=1e-5)
        if model.decoder is not None:
            together = model.decoder(hiddens, out_lens, labels)[row, : label_lens[row] + 1]
            own = model.decoder(alone, alone_len, labels[row : row + 1, : label_lens[row]])[0]
            torch.testing.assert_close(own, together, rtol=1e-4, atol=1e-5)
            ((ids, score),) = attention_greedy(model.decoder, alone, alone_len)
            found = attention_greedy(model.decoder, hiddens, out_lens)[row]
            assert found == (ids, pytest.approx(score, rel=1e-4))


def test_the_decoder_is_told_the_history_and_asked_for_units_then_the_end():
    targets = decoder_targets(torch.tensor([[2, 4, 3], [4, 0, 0]]), torch.tensor([3, 1]), end=4, ignore=-1)
    assert targets.tolist() == [[1, 3, 2, 4], [3, 4, -1, -1]]
    model = recogniser(ctc_weight=0.0)
    hiddens, lens = model.encode(torch.randn(1, 30, 6), torch.tensor([30]))
    logits = model.decoder(hiddens, lens, torch.tensor([[2, 4, 3]]))
    changed = model.decoder(hiddens, lens, torch.tensor([[2, 3, 3]]))
    torch.testing.assert_close(logits[:, :2], changed[:, :2])  # a step sees only what came before
    assert (logits[:, 2:] != changed[:, 2:]).any()


def test_scheduled_sampling_feeds_the_decoder_its_own_draws():
    model = recogniser(ctc_weight=0.0)
    hiddens, lens = model.encode(torch.randn(1, 30, 6), torch.tensor([30]))
    torch.nn.init.zeros_(model.decoder.output.weight)
    with torch.no_grad():
        model.decoder.output.bias.copy_(torch.tensor([-1e3, -1e3, 0.0, -1e3, -1e3]))  # always class 2
    draws = model.decoder(hiddens, lens, torch.tensor([[2, 2, 2]]), sampling=1.0)
    told = model.decoder(hiddens, lens, torch.tensor([[4, 4, 4]]), sampling=0.0)
    torch.testing.assert_close(draws, told)


def test_dot_attention_is_the_softmax_of_the_scaled_products_of_valid_frames():
    torch.manual_seed(0)
    attention = asr_attention.DotAttention(encoder_dim=6, query_dim=5, dim=4)
    hiddens, query, lens = torch.randn(2, 7, 6), torch.randn(2, 5), torch.tensor([7, 3])
    keys, mask = attention.key(hiddens), torch.arange(7) < lens[:, None]
    got = attention(query, asr_attention.Memory(hiddens, keys, mask), torch.zeros(2, 7))
    for row, n in enumerate(lens):
        want = (keys[row, :n] @ attention.query(query[row]) / 4**0.5).softmax(0)
        torch.testing.assert_close(got[row, :n], want)
        assert (got[row, n:] == 0).all()


def test_location_attention_begins_spread_out_and_is_sharpened_to_a_power():
    torch.manual_seed(0)
    hiddens, query = torch.randn(2, 7, 2 * SMALL.hidden_size), torch.randn(2, SMALL.decoder_hidden_size)
    weights = []
    for sharpening in (1.0, 3.0):
        decoder = recogniser(ctc_weight=0.0, sharpening=sharpening).decoder
        memory = decoder.memory(hiddens, torch.tensor([7, 3]))
        before = decoder.initial(memory).weights
        torch.testing.assert_close(before, torch.tensor([[1 / 7] * 7, [1 / 3] * 3 + [0.0] * 4]))
        weights.append(decoder.attention(query, memory, before))
    plain, sharp = weights
    assert plain.std(1).min() > 1e-3
    torch.testing.assert_close(sharp, plain**3 / (plain**3).sum(1, keepdim=True))


def test_positions_are_sines_then_cosines_of_falling_rates():
    angles = np.arange(5)[:, None] / 10_000 ** (np.arange(3) / 3)
    want = np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
    np.testing.assert_allclose(sinusoids(5, 6), want, atol=1e-6)


def test_stacking_and_reversing():
    feats = torch.arange(7.0)[None, :, None]
    assert stack_frames(feats, 2).tolist() == [[[0, 1], [2, 3], [4, 5]]]
    assert reverse_frames(feats, torch.tensor([5]))[0, :, 0].tolist() == [4, 3, 2, 1, 0, 5, 6]


def test_stack_follows_the_frame_shift_if_left_open():
    shifts = {10.0: 3, 12.5: 2, 30.0: 1, 50.0: 1}
    models = {shift: Recogniser(AsrConfig(), ABC, InputLayer(6, 0, shift)) for shift in shifts}
    assert {shift: model.encoder.front.stack for shift, model in models.items()} == shifts


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
    narrow = spec_augment(feats, lens, time_masks=1, time_width=5, freq_masks=0, freq_width=0)
    assert (narrow == 0).all(2).sum(1).max() == 5
    masked = spec_augment(feats, lens, time_masks=0, time_width=0, freq_masks=2, freq_width=4)
    assert 1 < (masked == 0).all(1).sum(1).float().mean() < 8
    torch.testing.assert_close(spec_augment(feats, lens, 0, 9, 0, 9), feats)


@pytest.mark.parametrize(
    "changes",
    [
        {"time_masks": 2, "time_width": 30, "freq_width": 0},
        {"freq_masks": 2, "freq_width": 3, "time_width": 0},
        {"tempo_warp": 0.3},
    ],
)
def test_the_recogniser_augments_in_training_alone(changes):
    torch.manual_seed(0)
    feats, lens = torch.randn(3, 60, 6), torch.tensor([60, 60, 60])
    plain, augmenting = recogniser(dropout=0.0), recogniser(dropout=0.0, **changes)
    want = plain.encode(feats, lens)[0]
    torch.testing.assert_close(augmenting.encode(feats, lens)[0], want)
    got, got_lens = augmenting.train().encode(feats, lens)
    assert (got_lens != plain.out_lens(lens)).any() or (got - want).abs().max() > 1e-3
    torch.testing.assert_close(plain.train().encode(feats, lens)[0], want)


def test_the_recogniser_standardises_what_it_is_trained_on(experiment):
    task, _, _, folder = experiment
    feats = Labelled(make_set(folder / "again", 60, 0).feats, folder / "again").feats
    frames = torch.from_numpy(np.concatenate([feats.read(utt_id) for utt_id in feats.utt_ids]))
    got = task.model.front(frames[None])[0]
    torch.testing.assert_close(got.mean(0), torch.zeros(6), atol=0.05, rtol=0)
    torch.testing.assert_close(got.std(0), torch.ones(6), atol=0.05, rtol=0)


def test_warping_resamples_each_utterance_within_its_own_length():
    torch.manual_seed(0)
    lens = torch.tensor([50, 30, 1])
    ramp = torch.arange(60.0)[None, :, None].repeat(3, 1, 8)
    out, out_lens = warp(ramp, lens, tempo=0.2, frequency=0.0)
    assert (out_lens >= shortest(lens, 0.2)).all() and (out_lens <= lens / 0.8).all()
    assert (out_lens[:2] != lens[:2]).any()
    for row, before, after in zip(out[:2, :, 0], lens, out_lens, strict=False):
        steps = row[1:after] - row[: after - 1]
        assert 0.8 <= steps[0] <= 1.2 and row[:after].max() <= before - 1  # a straight line stays one
        torch.testing.assert_close(steps[:-3], steps[0].expand(len(steps) - 3), rtol=1e-3, atol=1e-4)
    bins = torch.arange(8.0).expand(3, 60, 8)
    out, out_lens = warp(bins, lens, tempo=0.0, frequency=0.2)
    assert out_lens is lens and (out[..., 0] == 0).all() and out.max() <= 7
    assert len(set(out[:, 0, 4].tolist())) == 3 and (out[:, :, 4] == out[:, :1, 4]).all()


def test_frames_needed_counts_the_blank_between_equal_units():
    assert [frames_needed(ids) for ids in ([], [1], [1, 1], [1, 2, 2, 2])] == [0, 1, 3, 6]


def test_transcripts_too_long_to_align_are_listed_or_refused(tmp_path, caplog):
    texts = {"u1": "AB", "u2": "AA", "u3": "ABAB"}
    feats = Memory({utt_id: np.zeros((8, 6), np.float32) for utt_id in texts})
    tokenizer = train_tokenizer("char", list(texts.values()), 0, "here")

    def dataset(too_long, wanted):
        lens = recogniser().out_lens
        return labelled_dataset(feats, wanted, tokenizer, lens, too_long, "data/train/text")

    with caplog.at_level(logging.WARNING):
        kept = dataset("skip", texts)
    assert kept.utt_ids == ["u1"]
    assert "data/train/text: 2 utterances" in caplog.text and "u2 (3 needed, 2 there), u3 (4" in caplog.text
    with pytest.raises(InputError, match="first u2"):
        dataset("refuse", texts)
    with pytest.raises(InputError, match="1 utterances have too few"):
        dataset("skip", {"u3": "ABAB"})


def test_an_utterance_without_an_encoder_frame_is_skipped_even_if_nothing_is_said():
    texts = {"u1": "AB", "u2": ""}
    feats = Memory({"u1": np.zeros((8, 6), np.float32), "u2": np.zeros((2, 6), np.float32)})
    tokenizer = train_tokenizer("char", ["AB"], 0, "here")
    kept = labelled_dataset(feats, texts, tokenizer, lambda lens: lens // 3, "skip", "here")
    assert kept.utt_ids == ["u1"]


def test_training_transcripts_must_fit_what_warping_may_leave(tmp_path):
    """Twelve frames make four encoder frames, but three when sped up by 0.3."""
    (tmp_path / "text").write_text("u1 ABC\nu2 ABCA\n")
    labelled = Labelled(Memory({u: np.ones((12, 6), np.float32) for u in ("u1", "u2")}), tmp_path)
    task = asr.AsrTask(dataclasses.replace(SMALL, tempo_warp=0.3), labelled, labelled, Loading())
    assert (task.train.utt_ids, task.valid.utt_ids) == (["u1"], ["u1", "u2"])


def test_transcripts_need_features_and_features_without_one_are_told(tmp_path, caplog):
    labelled = make_set(tmp_path / "set", 3, 0)
    (tmp_path / "set" / "text").write_text("u000 A\nu009 B\n")
    with pytest.raises(InputError, match=r"feats: no features for utterance u009 of .*text, 1 absent"):
        transcripts(labelled)
    (tmp_path / "set" / "text").write_text("u000 A\n")
    with caplog.at_level(logging.WARNING):
        assert transcripts(labelled) == {"u000": "A"}
    assert "2 utterances have no transcript" in caplog.text


def test_transcripts_of_parts_are_those_of_the_whole(tmp_path):
    labelled = make_set(tmp_path / "set", 30, 0)
    lines = (tmp_path / "set/text").read_text().splitlines(keepends=True)
    (tmp_path / "set/text").write_text("".join(lines[:-1]))  # the last is in a part, without words
    found = [transcripts(labelled._replace(split=part)) for part in ("train", "valid", "test")]
    assert len(found[0]) > len(found[1]) > 0 and found[2]
    assert sum(map(len, found)) == 29 and found[0] | found[1] | found[2] == transcripts(labelled)


def test_one_of_so_many_may_lack_features_whatever_its_share_rounds_to():
    feats = Memory({f"u{i}": np.zeros((1, 6), np.float32) for i in range(48)})
    labels = dict.fromkeys([*feats.utt_ids, "lost"], 0)
    assert 49 * (1 / 49) < 1
    assert set(with_features(labels, feats, "here", 1 / 49)) == set(feats.utt_ids)
    with pytest.raises(InputError, match="2 absent"):
        with_features(labels | {"also": 0}, feats, "here", 1 / 50)


def test_batches_hold_no_more_utterances_than_told(tmp_path):
    labelled = make_set(tmp_path / "set", 7, 0)
    task = asr.AsrTask(dataclasses.replace(SMALL, max_utts=2), labelled, labelled, Loading())
    for loader in (task.train_loader(), task.valid_loader()):
        assert sorted(len(batch["utt_ids"]) for batch in loader.epoch(0)) == [1, 2, 2, 2]


def test_batches_are_shared_out_to_processes_and_shuffled_by_the_seed(tmp_path):
    labelled = make_set(tmp_path / "set", 12, 0)
    config = dataclasses.replace(SMALL, max_utts=1)

    def order(seed, rank=0, world_size=1):
        loading = Loading(seed, rank=rank, world_size=world_size)
        loader = asr.AsrTask(config, labelled, labelled, loading).train_loader()
        return [batch["utt_ids"][0] for batch in loader.epoch(0)]

    assert order(1) == order(1) != order(2)
    shares = [order(1, rank, 2) for rank in (0, 1)]
    assert list(map(len, shares)) == [6, 6] and sorted(shares[0] + shares[1]) == sorted(order(1))


def test_few_utterances_that_lost_their_features_are_left_out_of_training_alone(tmp_path, caplog):
    train, valid = (make_set(tmp_path / name, 30, seed) for seed, name in enumerate(("train", "valid")))
    with open(tmp_path / "train/text", "a") as stream:
        stream.write("u900 A\n")
    with caplog.at_level(logging.WARNING):
        task = asr.AsrTask(SMALL, train, valid, Loading())
    assert len(task.train.utt_ids) == 30
    assert "text: no features for 1 of 31 utterances, left out, first u900" in caplog.text
    with pytest.raises(InputError, match=r"no features for utterance u900 .*lost_utterances"):
        transcripts(train)  # as decoding has it
    with open(tmp_path / "train/text", "a") as stream:
        stream.write("u901 A\n")
    with pytest.raises(InputError, match="2 absent in all"):
        asr.AsrTask(SMALL, train, valid, Loading())


def test_a_share_of_the_transcripts_is_drawn_by_the_seed(tmp_path):
    sets = [make_set(tmp_path / name, 20, seed) for seed, name in enumerate(("train", "valid"))]
    config = dataclasses.replace(SMALL, train_proportion=0.1)

    def drawn(seed):
        loader = asr.AsrTask(config, *sets, Loading(seed=seed)).train_loader()
        return sorted(utt_id for batch in loader.epoch(0) for utt_id in batch["utt_ids"])

    assert len(drawn(1)) == 2 and drawn(1) == drawn(1)
    assert len({tuple(drawn(seed)) for seed in range(4)}) > 1
    valid = asr.AsrTask(config, *sets, Loading()).valid_loader()
    assert sum(len(batch["utt_ids"]) for batch in valid.epoch(0)) == 20


def test_batches_hold_the_labels_of_their_utterances(tmp_path):
    labelled = make_set(tmp_path / "set", 3, 0)
    tokenizer = train_tokenizer("char", ["ABC "], 0, "here")
    lens = recogniser().out_lens
    dataset = labelled_dataset(labelled.feats, transcripts(labelled), tokenizer, lens, "skip", "here")
    batch = dataset.collate([dataset[Segment(index, 0, 0)] for index in (2, 0)])
    assert batch["utt_ids"] == ["u002", "u000"]
    for utt_id, ids, n in zip(batch["utt_ids"], batch["labels"], batch["label_lens"], strict=True):
        assert tokenizer.decode(ids[:n].tolist()) == transcripts(labelled)[utt_id]


def loss_and_stats(labelled, training, **changes):
    """Of one batch, by a model whose only chance is in the options that are tested."""
    config = from_dict(AsrConfig, {**vars(SMALL), "dropout": 0.0, **changes}, "test")
    task = asr.AsrTask(config, labelled, labelled, Loading())
    task.model.train(training)
    torch.manual_seed(0)
    with torch.no_grad():
        loss, stats = task.loss(next(iter(task.valid_loader().epoch(0))))
    return float(loss), stats


@pytest.mark.parametrize("training", [True, False])
def test_the_parts_of_the_loss_weigh_what_they_are_told(tmp_path, training):
    loss, stats = loss_and_stats(make_set(tmp_path / "set", 5, 0), training, ctc_weight=0.3)
    assert loss == pytest.approx(float(0.3 * stats["loss_ctc"] + 0.7 * stats["loss_attention"]), rel=1e-5)


@pytest.mark.parametrize("option", ["label_smoothing", "sampling"])
def test_smoothing_and_sampling_are_of_training_alone(tmp_path, option):
    labelled = make_set(tmp_path / "set", 5, 0)
    plain, changed = (
        [loss_and_stats(labelled, training, ctc_weight=0.0, **options)[0] for training in (True, False)]
        for options in ({}, {option: 0.5})
    )
    assert changed[0] != pytest.approx(plain[0], rel=1e-4) and changed[1] == plain[1]


def train_on_made_up_speech(folder, steps, lr, **changes):
    sets = [make_set(folder / name, count, seed) for seed, (name, count) in enumerate(
        [("train", 60), ("valid", 10), ("test", 10)])]  # fmt: skip
    task = asr.AsrTask(from_dict(AsrConfig, {**vars(SMALL), **changes}, "test"), sets[0], sets[1], Loading())
    config = TrainConfig(max_steps=steps, lr=lr, valid_interval=steps // 2, log_interval=steps)
    return task, train(task, config, folder / "exp"), sets[2], folder


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A tiny CTC recogniser trained on made-up speech, its test set and where it is stored."""
    return train_on_made_up_speech(tmp_path_factory.mktemp("asr"), 90, 2e-2)


@pytest.fixture(scope="module")
def joint(tmp_path_factory):
    """The same with an attention decoder beside CTC."""
    return train_on_made_up_speech(
        tmp_path_factory.mktemp("las"), 160, 2e-2, ctc_weight=0.5, decoder_hidden_size=24, embedding=8,
        attention_dim=16, location_channels=4, location_width=5, label_smoothing=0.05, sampling=0.1,
    )  # fmt: skip


def decoded(model, labelled, out, **options):
    decode(model, labelled, out, AsrDecodeConfig(**options))
    return (out / "hyp").read_text()


def test_it_learns_to_recognise_and_reports_error_rates(experiment):
    _, stats, _, _ = experiment
    assert stats["ter"] < 2 and stats["wer"] < 5
    assert {"loss", "ter", "wer"} <= stats.keys() and "words" not in stats


@pytest.mark.parametrize("ctc_weight", [0.0, 0.5, 1.0])
def test_validation_counts_the_errors_that_greedy_decoding_makes(tmp_path, ctc_weight):
    """Of a model whose decoder knows nothing yet, too: its hypotheses have many times the units there are."""
    labelled = make_set(tmp_path / "set", 5, 0)
    config = from_dict(AsrConfig, {**vars(SMALL), "ctc_weight": ctc_weight}, "test")
    task = asr.AsrTask(config, labelled, labelled, Loading())
    task.model.eval()
    with torch.no_grad():
        stats = task.loss(next(iter(task.valid_loader().epoch(0))))[1]
    decoded(task.model, labelled, tmp_path / "out", method="greedy")
    texts = [read_text(tmp_path / "out" / name) for name in ("ref", "hyp")]
    errors = sum(int(count_errors([ref], [texts[1][utt_id]]).sum()) for utt_id, ref in texts[0].items())
    assert stats["word_errors"] == errors and stats["words"] == sum(map(len, texts[0].values()))


def test_what_units_cannot_spell_is_an_error_whatever_is_heard(experiment):
    task, *_ = experiment
    known, unknown = 3, 1
    found = task._errors([[known, unknown], [known]], [[known, unknown], [known]])
    assert found == {"ter": 100.0, "word_errors": 1.0, "words": 2.0}


def test_hypotheses_keep_blanks_that_part_no_words(tmp_path):
    tokenizer = train_tokenizer("char", ["A\u00a0B C"], 0, "here")
    write_results(tmp_path, {"u": [Hypothesis(tokenizer.encode("A\u00a0B  C"), 0.0)]}, tokenizer)
    assert (tmp_path / "hyp").read_text() == "u A\u00a0B C\n"
    assert read_text(tmp_path / "hyp") == {"u": ["A\u00a0B", "C"]}


def test_stored_and_loaded_it_decodes_the_same(experiment, tmp_path):
    task, _, test, _ = experiment
    model = TASKS["asr"].load(task.describe() | {"pretrained": None})  # as earlier recognisers say
    model.load_state_dict(task.model.state_dict())
    results = {}
    for name, used in (("here", task.model), ("loaded", model)):
        for method in ("greedy", "ctc-beam", "beam"):
            out = tmp_path / f"{name}-{method}"
            decode(used, test, out, AsrDecodeConfig(method=method, nbest=3))
            results[name, method] = [(out / file).read_text() for file in ("hyp", "nbest", "ref")]
    for method in ("greedy", "ctc-beam", "beam"):
        assert results["here", method] == results["loaded", method]
    hyp, nbest, ref = results["here", "ctc-beam"]
    assert ref == (test.data_dir / "text").read_text()
    wrong = sum(one != other for one, other in zip(hyp.splitlines(), ref.splitlines(), strict=True))
    assert wrong <= 1
    assert nbest.splitlines()[0].split(" ", 2)[0] == "u000-1"
    # Frame by frame or unit by unit: the same best sequences; the former loses pruned alignments.
    first, second = (
        [line.split(" ") for line in results["here", method][1].splitlines() if "-1 " in line]
        for method in ("ctc-beam", "beam")
    )
    for one, other in zip(first, second, strict=True):
        assert one[2:] == other[2:] and -0.1 < float(one[1]) - float(other[1]) < 1e-3


def test_decoding_does_not_depend_on_batches(experiment, joint, tmp_path):
    for name, (task, _, test, _) in (("ctc", experiment), ("joint", joint)):
        for method in ("greedy", "beam"):
            texts = [
                decoded(task.model, test, tmp_path / name / method / str(n), method=method, max_frames=n)
                for n in (1, 10_000)
            ]
            assert texts[0] == texts[1]


def test_the_joint_model_learns_and_its_parts_are_worth_what_they_weigh(joint, tmp_path):
    task, stats, test, _ = joint
    assert stats["decoder_accuracy"] > 80 and {"loss_ctc", "loss_attention"} <= stats.keys()
    ref = (test.data_dir / "text").read_text().splitlines()

    def wrong(**options):
        text = decoded(task.model, test, tmp_path / "out", method="beam", **options)
        return sum(one != other for one, other in zip(text.splitlines(), ref, strict=True))

    assert wrong(ctc_share=0.5) <= 2
    alone = decoded(task.model, test, tmp_path / "a", method="beam", ctc_share=1.0)
    assert alone == decoded(task.model, test, tmp_path / "b", method="ctc-beam")


def test_the_decoder_alone_tells_its_log_probability(joint):
    task, _, test, _ = joint
    model = task.model.eval()
    feats = torch.from_numpy(test.feats.read(test.feats.utt_ids[0]))[None]
    with torch.inference_mode():
        hiddens, lens = model.encode(feats, torch.tensor([feats.shape[1]]))
        ((ids, score),) = attention_greedy(model.decoder, hiddens, lens)
        log_probs = model.decoder(hiddens, lens, torch.tensor([ids]))[0].double().log_softmax(-1)
        # An empty transcript has an end.
        assert model.decoder(hiddens, lens, torch.zeros(1, 0, dtype=torch.int64)).shape[:2] == (1, 1)
    assert 0 < len(ids) < int(lens)
    classes = [*(number - 1 for number in ids), model.decoder.end]
    assert score == pytest.approx(float(log_probs[range(len(classes)), classes].sum()), abs=1e-4)


@pytest.mark.parametrize(("told", "used"), [(0.0, 0.0), (0.3, 0.3), (-1, 0.5)])
def test_ctcs_share_in_the_search_is_that_of_training_unless_told(told, used):
    options = AsrDecodeConfig(method="beam", ctc_share=told)
    assert Searcher(recogniser(ctc_weight=0.5), options).ctc_share == used


def test_a_language_model_changes_what_is_found(joint, tmp_path):
    pytest.importorskip("kenlm", reason="kenlm is not installed")
    task, _, test, _ = joint
    tokenizer = task.tokenizer
    write_arpa(
        tmp_path / "lm.arpa", estimate(ngram_sentences(["CA CA"] * 5, tokenizer), 3, tokenizer.units[1:])
    )
    lm = str(tmp_path / "lm.arpa")
    none, slight, heavy = (
        decoded(task.model, test, tmp_path / str(w), method="beam", lm=lm, lm_weight=w)
        for w in (0.0, 0.01, 20.0)
    )
    assert none == decoded(task.model, test, tmp_path / "no", method="beam")
    assert slight == none and heavy.count("CA") > 2 * none.count("CA")


def test_a_long_utterance_ends_and_fits_in_memory(joint):
    """35 s: nothing kept grows with the square of the length but the found units."""
    task, _, _, _ = joint
    found = Searcher(task.model.eval(), AsrDecodeConfig(method="beam")).search(
        torch.randn(1, 3500, 6), torch.tensor([3500])
    )
    assert len(found) == 1 and len(found[0]) == 1 and len(found[0][0].ids) <= 3500 // 3


def test_utterances_too_short_for_a_frame_are_taken_as_silent_and_told(experiment, tmp_path, caplog):
    task, _, _, _ = experiment
    labelled = Labelled(
        Memory({"u1": np.zeros((2, 6), np.float32), "u2": spoken("AB", np.random.default_rng(0))}), tmp_path
    )
    write_table(tmp_path / "utt2spk", {"u1": "s", "u2": "s"})
    with caplog.at_level(logging.WARNING):
        text = decoded(task.model, labelled, tmp_path / "out")
    assert text.splitlines()[0] == "u1" and "too short, taken as silent: u1" in caplog.text


def test_decoding_a_set_without_transcripts_writes_no_reference(experiment, tmp_path):
    task, _, test, _ = experiment
    decode(task.model, test, tmp_path / "out", AsrDecodeConfig())
    assert (tmp_path / "out" / "ref").is_file()  # nor is one left of when it had them
    silent = test._replace(data_dir=tmp_path / "data")
    write_table(tmp_path / "data/utt2spk", dict.fromkeys([*test.feats.utt_ids[1:], "other"], "s"))
    decode(task.model, silent, tmp_path / "out", AsrDecodeConfig())
    assert not (tmp_path / "out/ref").exists()
    assert list(read_table(tmp_path / "out/hyp", allow_empty=True)) == sorted(test.feats.utt_ids[1:])
    write_table(tmp_path / "data/utt2spk", {"other": "s"})
    with pytest.raises(InputError, match="has no features of the utterances of"):
        decode(task.model, silent, tmp_path / "out", AsrDecodeConfig())


def test_words_that_are_unicodes_blanks_stay(tmp_path):
    """In the last place, too: U+3000 and such are words like others in Kaldi's tables."""
    hypotheses = {"u1": [Hypothesis([3, 2], -1.0), Hypothesis([3], -2.0), Hypothesis([], -3.0)]}
    write_results(tmp_path, hypotheses, train_tokenizer("word", ["a \u3000"], 0, "text"))
    assert (tmp_path / "hyp").read_text(encoding="utf-8") == "u1 \u3000 a\n"
    assert (tmp_path / "nbest").read_text(encoding="utf-8").split("\n")[1] == "u1-2 -2.000000 \u3000"


HALF = {"ctc_weight": 0.5}


@pytest.mark.parametrize(
    ("cls", "options", "complaint"),
    [
        (AsrDecodeConfig, {"beam": 0}, "beam is 0"),
        (AsrDecodeConfig, {"ctc_share": -0.5}, "ctc-share is -0.5"),
        (AsrConfig, {"ctc_weight": 1.5}, "ctc-weight is 1.5"),
        (AsrConfig, {"subsample": (2,), "num_layers": 3}, "want 3 numbers"),
        (
            AsrConfig,
            {"encoder": "transformer", "hidden_size": 20, "num_heads": 4},
            "multiple of twice num-heads",
        ),
        (AsrConfig, {"encoder": "transformer", "projection": 4}, "the Transformer has none"),
        (AsrConfig, {"label_smoothing": 1.0}, "is no share"),
        (AsrConfig, {"tempo_warp": 1.0}, "is no share"),
        (AsrConfig, {"mix_layers": True}, "are of a model inside"),
        (AsrConfig, {"fine_tune": True}, "are of a model inside"),
        (AsrConfig, HALF | {"decoder_layers": 0}, "decoder-layers is 0, want at least 1"),
        (AsrConfig, HALF | {"decoder_hidden_size": 0}, "decoder-hidden-size is 0, want at least 1"),
        (AsrConfig, HALF | {"embedding": -1}, "embedding is -1, want at least 1"),
        (AsrConfig, HALF | {"attention_dim": 0}, "attention-dim is 0, want at least 1"),
        (AsrConfig, HALF | {"location_channels": 0}, "location-channels is 0, want at least 1"),
        (AsrConfig, HALF | {"location_width": -1}, "location-width is -1, want at least 0"),
        (AsrConfig, {"projection": -1}, "projection is -1, want at least 0"),
        (AsrConfig, {"stack": -1}, "stack is -1, want at least 0"),
        (AsrConfig, HALF | {"sharpening": math.nan}, "sharpening is nan"),
        (AsrConfig, {"fine_tune_lr": math.nan}, "fine-tune-lr is nan"),
        (AsrConfig, {"fine_tune_lr": math.inf}, "fine-tune-lr is inf"),
        (AsrConfig, {"fine_tune_after": -1}, "fine-tune-after is -1, want at least 0"),
        (LmConfig, {"hidden_size": 0}, "hidden-size is 0, want at least 1"),
        (LmConfig, {"dropout": 1.5}, "dropout is 1.5, want 0 to 1"),
        (AsrConfig, {"dropout": 1.0}, "dropout is 1, want less"),
        (LmBatches, {"max_units": 0}, "max-units is 0, want at least 1"),
        (AsrConfig, {"vocab_size": 2}, "vocab-size is 2, want 0"),
        (AsrConfig, {"vocab_size": -1}, "vocab-size is -1, want 0"),
        (AsrDecodeConfig, {"method": "beam", "end_margin": -1.0}, "end-margin is -1.0, want at least 0"),
        (AsrDecodeConfig, {"method": "ctc-beam", "lm": "x"}, "--lm: ctc-beam uses no language model"),
    ],
)
def test_bad_options_are_refused(cls, options, complaint):
    with pytest.raises(InputError, match=complaint):
        cls(**options)


def test_options_of_a_decoder_that_there_is_not_are_not_minded():
    assert AsrConfig(ctc_weight=1.0, decoder_layers=0).decoder_layers == 0


def test_a_search_the_model_cannot_do_is_refused(joint):
    model = recogniser(ctc_weight=0.0)
    with pytest.raises(InputError, match="the model has no CTC"):
        Searcher(model, AsrDecodeConfig(method="ctc-beam"))
    with pytest.raises(InputError, match="no such language model"):
        Searcher(model, AsrDecodeConfig(method="beam", lm="/nowhere/lm"))


def test_what_is_too_short_to_be_decoded_is_one_jobs_too():
    lengths = {"a": 60, "b": 1, "c": 50}
    feats = Memory({utt_id: np.zeros((length, 6), np.float32) for utt_id, length in lengths.items()})
    options = AsrDecodeConfig(method="greedy", max_frames=60)
    shares = [recognise(recogniser(), feats, feats.utt_ids, options, (k, 2)) for k in (0, 1)]
    assert sorted([*shares[0], *shares[1]]) == feats.utt_ids and all(shares)

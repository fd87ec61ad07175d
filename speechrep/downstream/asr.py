"""Speech recognition on any features: training task, stored form and decoding."""

from typing import Any

import torch

from speechrep.config import from_dict
from speechrep.data.loader import Loader
from speechrep.decode.greedy import greedy
from speechrep.downstream.asr_config import AsrConfig
from speechrep.downstream.asr_data import TranscribedDataset, labelled_dataset, transcripts
from speechrep.downstream.asr_decoder import decoder_targets
from speechrep.downstream.asr_input import InputLayer
from speechrep.downstream.asr_model import Recogniser, attention_greedy, ctc_loss
from speechrep.downstream.base import (
    MAY_LACK,
    HeadTask,
    Labelled,
    Loading,
    description,
    make_loader,
    num_layers_of,
    sample_frames,
    standardise,
)
from speechrep.downstream.split import draw
from speechrep.score.edit import count_errors
from speechrep.text.registry import load_tokenizer, parse_tokenizer, train_tokenizer
from speechrep.text.tokenizer import UNKNOWN, UNKNOWN_ID, Tokenizer, words_of

_IGNORE = -100  # target class of padding


class AsrTask(HeadTask):
    """What the trainer trains: a recogniser on transcribed utterances."""

    best_metric, best_is_lower = "ter", True

    def __init__(self, config: AsrConfig, train: Labelled, valid: Labelled, loading: Loading):
        self.config, self._loading, self._feats = config, loading, train.feats
        torch.manual_seed(loading.seed)  # of the initial weights
        texts, valid_texts = (transcripts(labelled, MAY_LACK) for labelled in (train, valid))
        kept = draw(list(texts), config.train_proportion, loading.seed)
        texts = {utt_id: texts[utt_id] for utt_id in kept}
        where = train.data_dir / "text"
        self.tokenizer: Tokenizer = (
            load_tokenizer(config.tokenizer)
            if config.tokenizer
            else train_tokenizer(config.unit, list(texts.values()), config.vocab_size, where)
        )
        self._shape = {
            "dim": train.feats.meta.dim, "num_layers": num_layers_of(train.feats),
            "frame_shift_ms": float(train.feats.meta.frame_shift_ms),
        }  # fmt: skip
        self.model = Recogniser(config, self.tokenizer, InputLayer(**self._shape, layer_sum=config.layer_sum))
        self.train = labelled_dataset(
            train.feats, texts, self.tokenizer, self.model.least_out_lens, config.too_long, where
        )
        self.valid = labelled_dataset(
            valid.feats,
            valid_texts,
            self.tokenizer,
            self.model.out_lens,
            config.too_long,
            valid.data_dir / "text",
        )
        standardise(self.model.front, sample_frames(self.train.feats, self.train.utt_ids))

    def loader(self, dataset: TranscribedDataset, shuffle: bool) -> Loader:
        """Batches of a dataset."""
        return make_loader(dataset, self._loading, self.config.max_frames, self.config.max_utts, shuffle)

    def loss(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """Loss summed over utterances; its weight is the number of units in the transcripts."""
        labels, label_lens = batch["labels"], batch["label_lens"]
        model, share = self.model, self.config.ctc_weight
        hiddens, lens = model.encode(batch["feats"], batch["feat_lens"])
        loss = hiddens.new_zeros(())
        stats: dict[str, Any] = {"weight": int(label_lens.sum())}
        if model.ctc is not None:
            log_probs = model.ctc_log_probs(hiddens)
            loss_ctc = ctc_loss(log_probs, lens, labels, label_lens)
            loss = loss + share * loss_ctc
            stats["loss_ctc"] = loss_ctc.detach()
        if model.decoder is not None:
            loss_attention, stats["decoder_accuracy"] = self._attention_loss(
                hiddens, lens, labels, label_lens
            )
            loss = loss + (1 - share) * loss_attention
            stats["loss_attention"] = loss_attention.detach()
        if not model.training:
            refs = [row[:n].tolist() for row, n in zip(labels, label_lens.tolist(), strict=True)]
            # As decode's greedy search. A decoder's own choices may loop, and a few loops outweigh all else.
            hyps = (
                greedy(log_probs, lens)
                if model.ctc is not None
                else [ids for ids, _ in attention_greedy(model.decoder, hiddens, lens)]
            )
            stats |= self._errors(refs, hyps)
        return loss, stats

    def _attention_loss(
        self, hiddens: torch.Tensor, lens: torch.Tensor, labels: torch.Tensor, label_lens: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross entropy of units and end, and how many units were right given the true ones before (%)."""
        decoder, config = self.model.decoder, self.config
        assert decoder is not None
        sampling = config.sampling if self.model.training else 0.0
        logits = decoder(hiddens, lens, labels, sampling).float().flatten(0, 1)
        targets = decoder_targets(labels, label_lens, decoder.end, _IGNORE).flatten()
        smoothing = config.label_smoothing if self.model.training else 0.0
        loss = torch.nn.functional.cross_entropy(
            logits, targets, ignore_index=_IGNORE, reduction="sum", label_smoothing=smoothing
        )
        units = (targets != _IGNORE) & (targets != decoder.end)
        return loss, 100.0 * (logits.argmax(-1) == targets)[units].sum()

    def _errors(self, refs: list[list[int]], hyps: list[list[int]]) -> dict[str, float]:
        """Greedy unit errors (percent once divided by the weight), and word errors and words.

        What the units cannot spell is an error whatever the hypothesis has there, as it will be in scoring.
        """
        words = [[words_of(self.tokenizer.decode(ids)) for ids in side] for side in (refs, hyps)]
        for ref, ids in zip(words[0], refs, strict=True):
            if UNKNOWN_ID in ids:
                ref[:] = [word.replace(UNKNOWN, "\0") for word in ref]
        units = [[-1 if number == UNKNOWN_ID else number for number in ids] for ids in refs]
        return {
            "ter": 100.0 * float(count_errors(units, hyps).sum()),
            "word_errors": float(count_errors(*words).sum()),
            "words": float(sum(len(ref) for ref in words[0])),
        }

    def parts_to_compile(self) -> list[torch.nn.Module]:
        """None: LSTMs are compiled already, and losses go past ``forward``."""
        return []

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """Word errors as a rate in percent."""
        if "words" not in stats:
            return stats
        rest = {key: value for key, value in stats.items() if key not in ("words", "word_errors")}
        return rest | {"wer": 100.0 * stats["word_errors"] / max(stats["words"], 1e-9)}

    def describe(self) -> dict[str, Any]:
        """What :func:`load` rebuilds the model from."""
        return description(
            "asr", self.config, self._feats, tokenizer=self.tokenizer.to_json(), input=self._shape
        )


def load(values: dict[str, Any]) -> Recogniser:
    """The model that ``model.json`` describes, its weights not yet loaded; it carries its tokenizer."""
    config = from_dict(AsrConfig, values["config"], "model.json")
    tokenizer = parse_tokenizer(values["tokenizer"], "model.json")
    return Recogniser(config, tokenizer, InputLayer(**values["input"], layer_sum=config.layer_sum))

"""Speech recognition on any features: training task, stored form and decoding."""

from typing import Any

import numpy as np
import torch

from speechrep.config import from_dict
from speechrep.data.features import FeatureReader
from speechrep.data.loader import Loader
from speechrep.decode.greedy import greedy
from speechrep.downstream.asr_config import AsrConfig
from speechrep.downstream.asr_data import TranscribedDataset, labelled_dataset, transcripts
from speechrep.downstream.asr_decoder import decoder_targets
from speechrep.downstream.asr_input import InputLayer
from speechrep.downstream.asr_model import Recogniser, attention_greedy, ctc_loss
from speechrep.downstream.base import Labelled, Loading, description, make_loader
from speechrep.downstream.inside import is_time_to_tune, param_groups, refuse_if_never_tuned
from speechrep.downstream.split import draw
from speechrep.score.edit import count_errors
from speechrep.text.registry import load_tokenizer, parse_tokenizer, train_tokenizer
from speechrep.text.tokenizer import Tokenizer
from speechrep.upstream.base import Upstream
from speechrep.upstream.checkpoint import describe as describe_upstream
from speechrep.upstream.checkpoint import load as load_upstream
from speechrep.upstream.checkpoint import rebuild
from speechrep.upstream.represented import require_input_of

_IGNORE = -100  # target class of padding
_STATISTICS_UTTERANCES = 200  # enough for means that vary by a few percent of a standard deviation


class AsrTask:
    """What the trainer trains: a recogniser on transcribed utterances."""

    best_metric = "ter"
    best_is_lower = True

    def __init__(self, config: AsrConfig, train: Labelled, valid: Labelled, loading: Loading):
        self.config, self._loading, self._feats = config, loading, train.feats
        self.leaves_unused = config.fine_tune  # what only pre-training needs
        torch.manual_seed(loading.seed)  # of the initial weights
        texts, valid_texts = (transcripts(labelled) for labelled in (train, valid))
        kept = draw(list(texts), config.train_proportion, loading.seed)
        texts = {utt_id: texts[utt_id] for utt_id in kept}
        where = train.data_dir / "text"
        self.tokenizer: Tokenizer = (
            load_tokenizer(config.tokenizer)
            if config.tokenizer
            else train_tokenizer(config.unit, list(texts.values()), config.vocab_size, where)
        )
        upstream = _load_upstream(config, train) if config.pretrained else None
        self._upstream_json = describe_upstream(upstream) if upstream is not None else None
        self.model = _build_model(config, self.tokenizer, _input_of(train.feats), upstream)
        self._train = labelled_dataset(
            train.feats, texts, self.tokenizer, self.model.least_out_lens, config.too_long, where
        )
        self._valid = labelled_dataset(
            valid.feats,
            valid_texts,
            self.tokenizer,
            self.model.out_lens,
            config.too_long,
            valid.data_dir / "text",
        )
        self.model.front.set_statistics(self._sample_frames())

    @torch.no_grad()
    def _sample_frames(self) -> torch.Tensor:
        """Frames of utterances spread evenly over the training set, as the encoder would read them."""
        last = len(self._train.utt_ids) - 1
        picked = np.unique(np.linspace(0, last, _STATISTICS_UTTERANCES).astype(int))
        front, frames = self.model.front.eval(), []  # a model inside that will be tuned would drop out
        for index in picked:
            feats = torch.from_numpy(self._train.feats.read(self._train.utt_ids[index]))[None]
            frames.append(front.represent(feats, torch.tensor([feats.shape[1]]))[0][0])
        front.train()
        return torch.cat(frames)

    def train_loader(self) -> Loader:
        """Shuffled batches."""
        return self._loader(self._train, shuffle=True)

    def valid_loader(self) -> Loader:
        """The validation set in a fixed order."""
        return self._loader(self._valid, shuffle=False)

    def _loader(self, dataset: TranscribedDataset, shuffle: bool) -> Loader:
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
            hyps = (
                greedy(log_probs, lens)
                if model.decoder is None
                else attention_greedy(model.decoder, hiddens, lens)
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
        """Greedy unit errors (percent once divided by the weight), and word errors and words."""
        words = [[self.tokenizer.decode(ids).split() for ids in side] for side in (refs, hyps)]
        return {
            "ter": 100.0 * float(count_errors(refs, hyps).sum()),
            "word_errors": float(count_errors(*words).sum()),
            "words": float(sum(len(ref) for ref in words[0])),
        }

    def summary(self, stats: dict[str, float]) -> dict[str, float]:
        """Word errors as a rate in percent."""
        if "words" not in stats:
            return stats
        rest = {key: value for key, value in stats.items() if key not in ("words", "word_errors")}
        return rest | {"wer": 100.0 * stats["word_errors"] / max(stats["words"], 1e-9)}

    def describe(self) -> dict[str, Any]:
        """What :func:`load` rebuilds the model from."""
        return description(
            "asr", self.config, self._feats,
            tokenizer=self.tokenizer.to_json(), input=_input_of(self._feats), pretrained=self._upstream_json,
        )  # fmt: skip

    def begin_run(self, total_steps: int) -> None:
        """The time of a model inside must come."""
        refuse_if_never_tuned(self.config, total_steps)

    def begin_step(self, step: int) -> None:
        """A model inside joins once its time has come."""
        self.model.front.set_tuning(is_time_to_tune(self.config, step))

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Everything trainable, a fine-tuned upstream at its own learning rate."""
        return param_groups(self.model, self.model.front.upstream, self.config, lr)


def load(values: dict[str, Any]) -> Recogniser:
    """The model that ``model.json`` describes, its weights not yet loaded; it carries its tokenizer."""
    config = from_dict(AsrConfig, values["config"], "model.json")
    upstream = rebuild(values["pretrained"], "model.json") if values.get("pretrained") else None
    return _build_model(config, parse_tokenizer(values["tokenizer"], "model.json"), values["input"], upstream)


def _build_model(
    config: AsrConfig, tokenizer: Tokenizer, shape: dict[str, Any], upstream: Upstream | None
) -> Recogniser:
    front = InputLayer(
        shape["dim"], shape["num_layers"], shape["frame_shift_ms"], upstream, config.fine_tune,
        config.mix_layers,
    )  # fmt: skip
    return Recogniser(config, tokenizer, front)


def _load_upstream(config: AsrConfig, train: Labelled) -> Upstream:
    upstream = load_upstream(config.pretrained)
    require_input_of(upstream, train.feats, config.pretrained)
    return upstream


def _input_of(feats: FeatureReader) -> dict[str, Any]:
    """Shape of the features: dimension, layers (0 where frames are vectors), frame shift."""
    sample = feats.read(feats.utt_ids[0], 0, 1)  # (1, D) or (1, L, D)
    return {
        "dim": sample.shape[-1], "num_layers": sample.shape[1] if sample.ndim == 3 else 0,
        "frame_shift_ms": float(feats.meta.frame_shift_ms),
    }  # fmt: skip

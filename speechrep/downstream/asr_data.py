"""Transcribed utterances for the recogniser, and those that CTC cannot align."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from speechrep.data.batches import Segment
from speechrep.data.features import FeatureReader, frame_counts, lengths_of
from speechrep.data.padded import pad_arrays, pad_features
from speechrep.downstream.base import Labelled, with_features
from speechrep.downstream.split import part_of
from speechrep.errors import InputError
from speechrep.io.data_dir import DataDir
from speechrep.text.tokenizer import Tokenizer

log = logging.getLogger(__name__)


def transcripts(labelled: Labelled, may_lack: float = 0.0) -> dict[str, str]:
    """The transcripts of a set or of its part, of which a share ``may_lack`` features.

    Features without a transcript are left out (a subset of the transcripts trains on less) and counted in
    the log.

    Raises:
        InputError: too many transcripts without features, or no transcript at all.
    """
    feats, data_dir = labelled.feats, DataDir(labelled.data_dir)
    texts = data_dir.text
    if labelled.split:
        picked = part_of(data_dir.utt2spk, labelled.split, data_dir.path)
        texts = {utt_id: texts[utt_id] for utt_id in picked if utt_id in texts}
    texts = with_features(texts, feats, data_dir.path / "text", may_lack)
    if not texts:
        raise InputError("no transcripts", where=data_dir.path / "text")
    without = len(feats.utt_ids) - len(texts)
    if without and not labelled.split:
        log.warning("%s: %d utterances have no transcript, not used", feats.path, without)
    return texts


def frames_needed(labels: Sequence[int]) -> int:
    """The fewest frames in which CTC can emit ``labels``: one each, and a blank between equal neighbours."""
    return len(labels) + sum(one == other for one, other in itertools.pairwise(labels))


class TranscribedDataset:
    """Features and unit numbers of utterances, for a Loader.

    Args:
        feats: the features.
        labels: utterance to unit numbers; the utterances to use, in the order of ``labels``.
    """

    def __init__(self, feats: FeatureReader, labels: Mapping[str, Sequence[int]]):
        self.feats = feats
        self.utt_ids = list(labels)
        self.labels = [np.asarray(ids, np.int64) for ids in labels.values()]
        self.num_frames = lengths_of(self.utt_ids, feats)

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        """One utterance; segments are whole utterances here."""
        utt_id = self.utt_ids[segment.index]
        return {"utt_id": utt_id, "feats": self.feats.read(utt_id), "labels": self.labels[segment.index]}

    def over(self, feats: FeatureReader) -> "TranscribedDataset":
        """The same utterances and transcripts with other features."""
        return TranscribedDataset(feats, dict(zip(self.utt_ids, self.labels, strict=True)))

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Padded ``feats`` (B, T, F) or (B, T, L, F), ``labels`` (B, N), their lengths and ``utt_ids``."""
        labels, label_lens = pad_arrays([item["labels"] for item in items])
        return pad_features(items) | {"labels": labels, "label_lens": label_lens}


def labelled_dataset(
    feats: FeatureReader,
    texts: Mapping[str, str],
    tokenizer: Tokenizer,
    out_lens: Any,
    too_long: str,
    where: object,
) -> TranscribedDataset:
    """The utterances that can be trained on.

    Args:
        feats: the features.
        texts: utterance to transcript.
        tokenizer: transcript to unit numbers.
        out_lens: (N,) int64 input lengths to encoder lengths, tensors both.
        too_long: ``skip`` utterances whose transcript needs more frames than the encoder gives, listing
            every one in the log, or ``refuse`` them.
        where: the set, for messages.

    Raises:
        InputError: nothing is left, or ``refuse`` and one does not fit.
    """
    frames = frame_counts(feats)
    labels = {utt_id: tokenizer.encode(text) for utt_id, text in texts.items()}
    have = out_lens(torch.tensor([frames[utt_id] for utt_id in labels])).tolist()
    unfit = [
        f"{utt_id} ({frames_needed(ids)} needed, {count} there)"
        for (utt_id, ids), count in zip(labels.items(), have, strict=True)
        if count < max(1, frames_needed(ids))
    ]
    if unfit:
        what = f"{len(unfit)} utterances have too few encoder frames for their transcript"
        if too_long == "refuse" or len(unfit) == len(labels):
            raise InputError(
                f"{what}, first {unfit[0]}", where=where,
                mend="check that audio and text belong together, stack fewer frames or use longer units",
            )  # fmt: skip
        log.warning("%s: %s; skipped: %s", where, what, ", ".join(unfit))
    skipped = {entry.split(" ")[0] for entry in unfit}
    return TranscribedDataset(feats, {u: ids for u, ids in labels.items() if u not in skipped})

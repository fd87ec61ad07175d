"""Phone classification: which phone is spoken in each frame, from that frame's vector alone.

39 ARPAbet phones and silence (SIL); frames of spoken noise (SPN) and frames without a label count neither in
training nor in scoring.
"""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from speechrep.config import opt
from speechrep.data.batches import Segment
from speechrep.data.features import FeatureReader
from speechrep.data.frame_labels import IGNORE, frame_times_s, label_frames, offset_ms
from speechrep.data.loader import pad_arrays
from speechrep.downstream.base import Labelled, Loading, description
from speechrep.downstream.probe import Probe, ProbeConfig, load_probe
from speechrep.downstream.probe_task import ProbeTask
from speechrep.downstream.split import part_of
from speechrep.errors import InputError
from speechrep.io.alignment import ARPABET, SILENCE, SPOKEN_NOISE, read_ctm
from speechrep.io.data_dir import DataDir
from speechrep.io.table import write_table
from speechrep.score.classification import IGNORED

logger = logging.getLogger(__name__)

CLASSES = (SILENCE, *ARPABET)
MAX_UNALIGNED = 0.1  # share of utterances without alignment above which something is wrong


@dataclasses.dataclass(frozen=True)
class PhoneConfig(ProbeConfig):
    """Options of the phone task."""

    label_offset_ms: str = opt(
        "auto", "added to label times; auto: 7.5 where all are multiples of 10 ms (a recogniser's), else 0"
    )  # fmt: skip
    batch_frames: int = opt(4000, "frames of a batch")
    frame_stride: int = opt(
        1, "a linear probe is solved on every so-manieth frame; neighbours tell little new"
    )


@dataclasses.dataclass(frozen=True)
class LabelledFrames:
    """Utterances with a label per frame; a dataset for :class:`Loader`."""

    feats: FeatureReader
    utt_ids: list[str]
    labels: list[NDArray[np.int64]]  # (T,) per utterance, IGNORE for none
    stride: int = 1  # of :meth:`some`

    @property
    def num_frames(self) -> NDArray[np.int64]:
        """(U,) their lengths."""
        return np.array([len(labels) for labels in self.labels], np.int64)

    def __getitem__(self, segment: Segment) -> dict[str, Any]:
        utt_id, stop = self.utt_ids[segment.index], segment.start + segment.num_frames
        return {
            "utt_id": utt_id,
            "feats": self.feats.read(utt_id, segment.start, stop),
            "labels": self.labels[segment.index][segment.start : stop],
        }

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        """Items to a batch, padded labels ignored."""
        feats, feat_lens = pad_arrays([item["feats"] for item in items])
        labels, _ = pad_arrays([item["labels"] for item in items], IGNORE)
        return {
            "utt_ids": [item["utt_id"] for item in items],
            "feats": feats, "feat_lens": feat_lens, "labels": labels, "label_lens": feat_lens,
        }  # fmt: skip

    def some(self, limit: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """As :class:`speechrep.downstream.probe_task.Vectors` has it."""
        feats, labels, count = [], [], 0
        for index in np.random.default_rng(seed).permutation(len(self.utt_ids)):
            kept = np.flatnonzero(self.labels[index] != IGNORE)[:: self.stride]
            feats.append(self.feats.read(self.utt_ids[index])[kept])
            labels.append(self.labels[index][kept])
            count += len(kept)
            if count >= limit:
                logger.info("%d frames of %d utterances are held in memory", count, len(feats))
                break
        return np.concatenate(feats), np.concatenate(labels)


def read_frames(data: Labelled, label_offset_ms: str = "auto", stride: int = 1) -> LabelledFrames:
    """The utterances of a set that have both features and an alignment.

    Args:
        data: the set.
        label_offset_ms: as in :class:`PhoneConfig`.
        stride: of :meth:`LabelledFrames.some`.

    Raises:
        InputError: no ``phones.ctm``, labels that do not fit the features in time, none in common, or more
            than :data:`MAX_UNALIGNED` of the utterances without alignment.
    """
    path = Path(data.data_dir) / "phones.ctm"
    if not path.is_file():
        raise InputError("no phone alignment", where=path, mend="give --alignments or --aligner to run.sh")
    alignments = read_ctm(path)
    offset = offset_ms(alignments, label_offset_ms, path)
    ids = {phone: i for i, phone in enumerate(CLASSES)} | {SPOKEN_NOISE: IGNORE}
    chosen = set(part_of(DataDir(data.data_dir).utt2spk, data.split, data.data_dir))
    utt_ids, labels, missing = [], [], []
    for utt_id, num_frames in zip(data.feats.utt_ids, data.feats.num_frames, strict=True):
        if utt_id not in chosen:
            continue
        if utt_id not in alignments:
            missing.append(utt_id)
            continue
        times_s = frame_times_s(data.feats.meta, int(num_frames))
        utt_ids.append(utt_id)
        labels.append(label_frames(alignments[utt_id], ids, times_s, f"{path}: {utt_id}", offset))
    if len(missing) > MAX_UNALIGNED * (len(missing) + len(utt_ids)) or not utt_ids:
        first = f", first {missing[0]}" if missing else ""
        total = len(missing) + len(utt_ids)
        raise InputError(
            f"{len(missing)} of {total} utterances of {data.feats.path} have no alignment{first}", where=path
        )
    if missing:
        logger.warning("%s: %d utterances have no alignment, first %s", path, len(missing), missing[0])
    return LabelledFrames(data.feats, utt_ids, labels, stride)


def build(config: PhoneConfig, train: Labelled, valid: Labelled, loading: Loading) -> ProbeTask:
    """The task of training a probe of single frames."""
    frames = [read_frames(data, config.label_offset_ms, config.frame_stride) for data in (train, valid)]
    about = description("phone", config, train.feats)
    return ProbeTask(list(CLASSES), config, *frames, loading, config.batch_frames, about)


def load(model_json: dict[str, Any]) -> Probe:
    """The model of a trained phone task, weights not yet loaded."""
    return load_probe(model_json, PhoneConfig)


@torch.no_grad()
def decode(model: Probe, data: Labelled, out_dir: Path, options: Any) -> None:
    """Write ``hyp`` and ``ref``: ``utterance phone phone ...``, one per frame; ``-`` in ref is not scored."""
    frames = read_frames(data, model.config.label_offset_ms)
    names = np.array([*CLASSES, IGNORED])  # IGNORE is -1, the last
    hyps, refs = {}, {}
    device = model.mean.device
    for utt_id, labels in zip(frames.utt_ids, frames.labels, strict=True):
        best = model(torch.from_numpy(frames.feats.read(utt_id)).to(device)).argmax(-1)
        hyps[utt_id] = " ".join(names[best.cpu().numpy()])
        refs[utt_id] = " ".join(names[labels])
    write_table(out_dir / "hyp", hyps)
    write_table(out_dir / "ref", refs)

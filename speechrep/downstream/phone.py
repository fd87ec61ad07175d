"""Phone classification: which phone is spoken in each frame, from that frame's vector alone.

By default 39 ARPAbet phones and silence (SIL); frames of spoken noise (SPN) and frames without a label count
neither in training nor in scoring. Any other labels in time (words, say) serve as well: ``--classes data``.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechrep.config import at_least, opt
from speechrep.data.features import frame_counts
from speechrep.data.frame_labels import IGNORE
from speechrep.downstream import split
from speechrep.downstream.base import (
    MAY_LACK,
    Labelled,
    Loading,
    TaskConfig,
    description,
    num_layers_of,
    part_with_features,
)
from speechrep.downstream.frame_classes import INVENTORIES, FrameClasses
from speechrep.downstream.labelled_frames import LabelledFrames
from speechrep.downstream.probe import Probe, ProbeConfig, check_probe, load_probe
from speechrep.downstream.probe_task import ProbeTask
from speechrep.errors import InputError
from speechrep.io.data_dir import DataDir
from speechrep.io.table import write_table
from speechrep.progress import Progress
from speechrep.score.classification import IGNORED

logger = logging.getLogger(__name__)

MAX_UNALIGNED = 0.1  # share of utterances without alignment above which something is wrong


@dataclasses.dataclass(frozen=True)
class PhoneConfig(ProbeConfig, TaskConfig):
    """Options of the phone task."""

    labels: str = opt(
        "phones.ctm", "a ctm, a file 'utterance id id ...' (10 ms frames) or a folder of TextGrids or "
        "*.alignment.txt; in the data directory, or a path with a slash",
    )  # fmt: skip
    tier: str = opt("phones", "tier of TextGrids")
    classes: str = opt("39", "39 phones and SIL; 41: also SPN; 72: with stress marks; data: as in training",
                       sorted(INVENTORIES))  # fmt: skip
    label_offset_ms: str = opt(
        "auto", "added to label times; auto: 7.5 where all are multiples of 10 ms (a recogniser's), else 0"
    )  # fmt: skip
    max_frames: int = opt(4000, "frames of a batch")
    frame_stride: int = opt(
        1, "of N labelled frames a linear probe is solved on the first; neighbours tell little new"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_probe(self)
        at_least(1, self, "max_frames", "frame_stride")


def read_frames(
    data: Labelled, config: PhoneConfig, classes: Sequence[str] = (), may_lack: float = 0.0
) -> tuple[LabelledFrames, tuple[str, ...]]:
    """The utterances of a set that have both features and labels, and the classes.

    Args:
        data: the set.
        config: which labels, and what becomes of them.
        classes: those of the training set; empty where this is the training set.
        may_lack: the share of utterances that may have no features.

    Raises:
        InputError: no labels, labels that do not fit the features in time, none in common, more than
            :data:`MAX_UNALIGNED` of the utterances without labels, or no frame with a class.
    """
    path = Path(data.data_dir) / config.labels
    if not path.exists() and "/" in config.labels:
        path = Path(config.labels)
    if not path.exists():
        raise InputError("no phone alignment", where=path, mend="give --alignments or --aligner to run.sh")
    found = FrameClasses(path, config.tier, config.classes, config.label_offset_ms)
    part = split.part_of(DataDir(data.data_dir).utt2spk, data.split, data.data_dir)
    chosen = part_with_features(part, data, may_lack)
    lengths = frame_counts(data.feats)
    wanted = [utt_id for utt_id in data.feats.utt_ids if utt_id in chosen]
    known = found.utt_ids
    utt_ids = [utt_id for utt_id in wanted if utt_id in known]
    missing = [utt_id for utt_id in wanted if utt_id not in known]
    if len(missing) > MAX_UNALIGNED * len(wanted) or not utt_ids:
        first = f", first {missing[0]}" if missing else ""
        raise InputError(
            f"{len(missing)} of {len(wanted)} utterances of {data.feats.path} have no alignment{first}",
            where=path,
        )
    if missing:
        logger.warning("%s: %d utterances have no alignment, first %s", path, len(missing), missing[0])
    names = tuple(classes) or found.classes(utt_ids)
    labels = [found.frames(utt_id, data.feats, lengths[utt_id], names) for utt_id in utt_ids]
    if not any((row != IGNORE).any() for row in labels):
        raise InputError("no frame has one of the classes", where=path)
    return LabelledFrames(data.feats, utt_ids, labels, config.frame_stride), names


def draw(frames: LabelledFrames, proportion: float, seed: int) -> LabelledFrames:
    """A share of the utterances, at least one, always the same for a seed."""
    if proportion == 1:
        return frames
    kept = set(split.draw(frames.utt_ids, proportion, seed))
    rows = [i for i, utt_id in enumerate(frames.utt_ids) if utt_id in kept]
    utt_ids, labels = [frames.utt_ids[i] for i in rows], [frames.labels[i] for i in rows]
    return dataclasses.replace(frames, utt_ids=utt_ids, labels=labels)


def build(config: PhoneConfig, train: Labelled, valid: Labelled, loading: Loading) -> ProbeTask:
    """The task of training a probe of single frames."""
    train_frames, classes = read_frames(train, config, may_lack=MAY_LACK)
    valid_frames, _ = read_frames(valid, config, classes, MAY_LACK)
    train_frames = draw(train_frames, config.train_proportion, loading.seed)
    return ProbeTask(
        classes, config, train_frames, valid_frames, loading, config.max_frames,
        description("phone", config, train.feats), num_layers_of(train.feats),
    )  # fmt: skip


def load(model_json: dict[str, Any]) -> Probe:
    """The model of a trained phone task, weights not yet loaded."""
    return load_probe(model_json, PhoneConfig)


@torch.no_grad()
def decode(model: Probe, data: Labelled, out_dir: Path, options: Any) -> None:
    """Write ``hyp`` and ``ref``: ``utterance phone phone ...``, one per frame; ``-`` in ref is not scored."""
    frames, classes = read_frames(data, model.config, model.labels)
    names = np.array([*classes, IGNORED])  # IGNORE is -1, the last
    hyps, refs = {}, {}
    progress = Progress(len(frames.utt_ids), "utterances")
    for utt_id, labels in progress.over(zip(frames.utt_ids, frames.labels, strict=True)):
        feats = torch.from_numpy(frames.feats.read(utt_id)).to(model.mean.device)
        hyps[utt_id] = " ".join(names[model(feats).argmax(-1).cpu().numpy()])
        refs[utt_id] = " ".join(names[labels])
    write_table(out_dir / "hyp", hyps)
    write_table(out_dir / "ref", refs)

"""Which classes the frames of a set have: label files of several kinds, folded to an inventory of classes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from speechrep.data.features import FeatureReader
from speechrep.data.frame_labels import IGNORE, MAX_APART, frame_times_s, label_frames, offset_ms
from speechrep.errors import InputError
from speechrep.io.alignment import (
    ARPABET,
    SILENCE,
    SPOKEN_NOISE,
    VOWELS,
    Interval,
    fold_phone,
    read_ctm,
    without_position,
)
from speechrep.io.phone_labels import CPC_PHONES, read_frame_ids, read_textgrids, read_word_alignments
from speechrep.score.classification import IGNORED

STRESSED = sorted(
    [p for p in ARPABET if p not in VOWELS] + [f"{v}{stress}" for v in VOWELS for stress in "012"]
)
INVENTORIES: dict[str, tuple[str, ...]] = {
    "39": (SILENCE, *ARPABET),  # and silence; spoken noise is not classified
    "41": (SILENCE, SPOKEN_NOISE, *ARPABET),
    "72": ("sil", "sp", "spn", *STRESSED),  # the Mockingjay paper's
    "data": (),  # what the training labels hold
}
OWN_IDS = "--classes data takes ids of your own"
UNKNOWN = IGNORE - 1  # in the table of ids: none that training has seen
ID_SHIFT_MS, ID_CENTRE_MS = 10.0, 12.5  # of files with an id per frame, which are Kaldi's frames


class FrameClasses:
    """The labels of a set, by frame once features say where the frames are.

    Args:
        path: a ctm; a file ``utterance id id ...`` of 10 ms frames; or a folder of TextGrids or of
            CorentinJ's ``*.alignment.txt``.
        tier: of TextGrids.
        inventory: a key of :data:`INVENTORIES`.
        label_offset_ms: added to times, see :mod:`speechrep.data.frame_labels`.

    Raises:
        InputError: no such file, or a damaged one.
    """

    def __init__(self, path: Path, tier: str, inventory: str, label_offset_ms: str):
        self.path, self.inventory = path, inventory
        self._intervals: Mapping[str, Sequence[Interval]] = {}
        self._ids: Mapping[str, NDArray[np.int64]] = {}
        if path.is_dir():
            words = next(path.rglob("*.TextGrid"), None) is None
            self._intervals = read_word_alignments(path) if words else read_textgrids(path, tier)
        elif path.suffix == ".ctm":
            self._intervals = read_ctm(path)
        else:
            self._ids = read_frame_ids(path)
            if inventory in ("39", "41") and self._ids and not _has_silence(self._ids):
                what = "no frame has id 0, which is silence in CPC's numbering of phones"
                raise InputError(what, where=path, mend=OWN_IDS)
        self._offset_ms = offset_ms(self._intervals, label_offset_ms, path)

    @property
    def utt_ids(self) -> set[str]:
        """The utterances that have labels."""
        return set(self._ids) | set(self._intervals)

    def classes(self, utt_ids: Iterable[str]) -> tuple[str, ...]:
        """The inventory; where the data make it, the sorted labels of these utterances."""
        if self.inventory != "data":
            return INVENTORIES[self.inventory]
        if self._ids:
            found = set().union(*(np.unique(self._ids[utt_id]).tolist() for utt_id in utt_ids))
            return tuple(map(str, sorted(found)))
        return tuple(sorted({_written(i.label) for utt_id in utt_ids for i in self._intervals[utt_id]}))

    def frames(
        self, utt_id: str, feats: FeatureReader, num_frames: int, classes: Sequence[str]
    ) -> NDArray[np.int64]:
        """(T,) indices into ``classes``, IGNORE for frames without a class.

        Raises:
            InputError: labels and features of different frame shifts or ends, or a label not in ``classes``.
        """
        where = f"{self.path}: {utt_id}"
        if self._ids:
            return self._frames_of_ids(utt_id, feats, num_frames, classes, where)
        intervals = [row._replace(label=self._fold(row.label, where)) for row in self._intervals[utt_id]]
        ids = {name: i for i, name in enumerate(classes)} | ({SPOKEN_NOISE: IGNORE} if self._no_noise else {})
        return label_frames(intervals, ids, frame_times_s(feats.meta, num_frames), where, self._offset_ms)

    @property
    def _no_noise(self) -> bool:
        return self.inventory == "39"

    def _frames_of_ids(
        self, utt_id: str, feats: FeatureReader, num_frames: int, classes: Sequence[str], where: str
    ) -> NDArray[np.int64]:
        if feats.meta.frame_shift_ms != ID_SHIFT_MS:
            raise InputError(
                f"labels are of {ID_SHIFT_MS:g} ms frames but the features of {feats.path} of "
                f"{feats.meta.frame_shift_ms:g} ms",
                where=where, mend="use features of 10 ms frames, or labels with times (ctm, TextGrid)",
            )  # fmt: skip
        ids = self._ids[utt_id]
        times_ms = 1000 * frame_times_s(feats.meta, num_frames)
        place = np.rint((times_ms - ID_CENTRE_MS) / ID_SHIFT_MS).astype(np.int64)
        if abs(len(ids) - 1 - place[-1]) > MAX_APART:
            raise InputError(f"{len(ids)} labels for {num_frames} frames of {feats.path}", where=where)
        table = self._id_table(classes, where)
        unknown = ids[(ids >= len(table)) | (table[ids.clip(0, len(table) - 1)] == UNKNOWN)]
        if len(unknown):
            known, mend = f"the {len(classes)} known", ""
            if self.inventory != "data":
                known, mend = f"CPC's phones, 0 to {len(CPC_PHONES) - 1}", OWN_IDS
            raise InputError(f"id {unknown[0]} is not one of {known}", where=where, mend=mend)
        inside = (place >= 0) & (place < len(ids))
        return np.where(inside, table[ids[place.clip(0, len(ids) - 1)]], IGNORE)

    def _id_table(self, classes: Sequence[str], where: str) -> NDArray[np.int64]:
        """From an id in the file to an index into ``classes``."""
        if self.inventory == "72":
            raise InputError(
                "a label per frame has no stress marks", where=where, mend="classes 39, 41 or data"
            )
        known = {name: i for i, name in enumerate(classes)}
        if self.inventory == "data":
            table = np.full(max(map(int, classes)) + 1, UNKNOWN)
            table[[int(name) for name in classes]] = range(len(classes))
            return table
        return np.array([known.get(phone, IGNORE) for phone in CPC_PHONES])

    def _fold(self, label: str, where: str) -> str:
        if self.inventory == "data":
            return _written(label)
        try:
            return _stressed(label) if self.inventory == "72" else fold_phone(label)
        except InputError as error:
            raise error.told(where=where) from None


def _has_silence(ids: Mapping[str, NDArray[np.int64]]) -> bool:
    """Whether a frame has CPC's id of silence, which no phone of Kaldi has."""
    return any((some == 0).any() for some in ids.values())


def _stressed(label: str) -> str:
    """A phone as one of the 72: with its stress, and pauses (sp) apart from silence."""
    written = without_position(label)
    folded = fold_phone(written)
    if folded == SILENCE:
        return "sp" if written.lower() == "sp" else "sil"
    return "spn" if folded == SPOKEN_NOISE else written.upper()


def _written(label: str) -> str:
    """A label that a Kaldi table can hold and that is not the sign of frames without one."""
    written = "_".join(label.split()) or SILENCE
    return "_" if written == IGNORED else written

"""Features made elsewhere: Kaldi archives such as fMLLR, and HDF5 files with a dataset per utterance."""

import dataclasses
import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from speechrep.config import opt
from speechrep.errors import InputError
from speechrep.frontend.sources import file_identity
from speechrep.io.ark import load_scp, parse_spec, read_matrix
from speechrep.io.files import parse_json

_HDF5 = (".h5", ".hdf5")


@dataclasses.dataclass(frozen=True)
class ReadyConfig:
    """Where ready-made features are, and what their files do not say."""

    scp: str = opt(
        "feats.scp",
        "table of utterance to archive:offset (Kaldi) or file.h5:key (ESPnet), an .h5 file whose keys are "
        "the utterances, or a feature manifest .jsonl(.gz) of lhotse; relative to the data directory, whose "
        "name {set} in it becomes",
    )
    kind: str = opt("", "what they are, such as fmllr; features of another kind are never mixed with them")
    frame_shift: float = opt(10.0, "from one frame to the next, ms")
    sample_frequency: float = opt(16000.0, "sample rate of the audio they were made from, Hz")

    def place(self, data_dir: Path) -> Path:
        """The table of a data directory."""
        return data_dir / self.scp.replace("{set}", data_dir.resolve().name)

    def identity(self) -> dict[str, Any]:
        """What ``features.json`` keeps as the configuration: not where the files happened to be."""
        return {"kind": self.kind} if self.kind else {}


class ReadySource:
    """A :class:`speechrep.frontend.sources.FeatureSource` of ready-made features.

    Args:
        config: where they are.
        data_dir: the data directory.
        utt_ids: the utterances wanted; one without features is lost. All that there are, if None.

    Raises:
        InputError: no such table, or nothing readable in it.
    """

    def __init__(self, config: ReadyConfig, data_dir: Path, utt_ids: list[str] | None = None):
        self.path = config.place(data_dir)
        self._table = _read_places(self.path)
        self.utt_ids = list(self._table) if utt_ids is None else utt_ids
        self._identities: dict[str, list[object]] = {}
        self._file: tuple[str, Any] = ("", None)
        self.dim = 0
        self.dim = next((self.read(utt_id).shape[1] for utt_id in self.utt_ids if utt_id in self._table), 0)
        if not self.dim:
            raise InputError("no features of the utterances wanted", where=self.path)

    def identity(self, utt_id: str) -> list[object]:
        """See :class:`FeatureSource`."""
        spec = self._table.get(utt_id, "")
        archive = (in_hdf5(spec) or parse_spec(spec or "-"))[0]
        if archive not in self._identities:
            self._identities[archive] = file_identity(archive)
        return [utt_id, spec, *self._identities[archive]]

    def read(self, utt_id: str) -> np.ndarray:
        """See :class:`FeatureSource`."""
        if utt_id not in self._table:
            raise InputError(f"no features of utterance {utt_id!r}", where=self.path)
        spec = self._table[utt_id]
        try:
            place = in_hdf5(spec)
            feats = self._read_hdf5(*place) if place else read_matrix(spec)
            if not len(feats):
                raise InputError("no frames", where=spec)
            if self.dim and feats.shape[1] != self.dim:
                raise InputError(f"{feats.shape[1]} values per frame, the first has {self.dim}", where=spec)
            if not np.isfinite(feats).all():
                raise InputError("NaN or infinity", where=spec)
        except InputError as error:
            raise error.told(f"utterance {utt_id!r}: {error.what}") from error
        return feats

    def _read_hdf5(self, path: str, key: str) -> np.ndarray:
        import h5py  # here, because only this kind of features needs it

        from speechrep.io.hdf5 import reading

        if self._file[0] != path:
            with reading(path, "not readable as HDF5"):
                self._file = path, h5py.File(path, "r")
        with reading(path):
            return self._read_dataset(path, key)

    def _read_dataset(self, path: str, key: str) -> np.ndarray:
        from speechrep.io.hdf5 import require_readable

        dataset = self._file[1].get(key)
        if dataset is None:
            raise InputError(f"there is no dataset {key!r}", where=path)
        if getattr(dataset, "ndim", 0) != 2 or dataset.dtype.kind != "f":
            what = f"{dataset.dtype} of shape {dataset.shape}" if hasattr(dataset, "dtype") else "a group"
            raise InputError(
                f"dataset {key!r} is {what}, want float (frames, values)", where=path,
                mend="store it without lilcom compression",
            )  # fmt: skip
        require_readable(dataset, path)
        return dataset[:].astype(np.float32)


def in_hdf5(spec: str) -> tuple[str, str] | None:
    """File and key of ``file.h5:key``, whose key may hold a colon; None for another place."""
    found = re.match(r"(.*?\.(?:h5|hdf5)):(.*)", spec)
    return (found[1], found[2]) if found else None


def _read_places(path: Path) -> dict[str, str]:
    """Utterance to ``archive:offset`` or ``file.h5:key``."""
    if path.suffix in _HDF5:
        import h5py

        from speechrep.io.hdf5 import reading

        with reading(path, "not readable as HDF5"), h5py.File(path, "r") as file:
            return {utt_id: f"{path}:{utt_id}" for utt_id in file}
    if path.name.endswith((".jsonl", ".jsonl.gz")):
        return _read_lhotse(path)
    return load_scp(path)


def _read_lhotse(path: Path) -> dict[str, str]:
    """A lhotse feature manifest: recording to storage; recordings must have been stored whole."""
    places: dict[str, str] = {}
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                where = f"{path}:{number}"
                row = parse_json(line, where)
                row = row.get("features", row) if isinstance(row, dict) else row  # a cut holds its features
                if not isinstance(row, dict):
                    raise InputError("not a feature manifest", where=where)
                missing = {"recording_id", "storage_path", "storage_key"} - set(row)
                if missing:
                    raise InputError(f"the key {min(missing)!r} is missing", where=where)
                if not isinstance(row["recording_id"], str) or not isinstance(row["storage_path"], str):
                    raise InputError("a recording or a path that is no text", where=where)
                if row["recording_id"] in places:
                    raise InputError(f"{row['recording_id']!r} is given twice", where=where)
                storage = Path(row["storage_path"])
                storage = storage if storage.is_file() else path.parent / storage.name
                places[row["recording_id"]] = f"{storage}:{row['storage_key']}"
    except InputError:
        raise
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError(f"not readable as a manifest: {error}", where=path) from error
    return places

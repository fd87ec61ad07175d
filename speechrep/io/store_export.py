"""Stores in the formats that other toolkits read."""

import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import h5py

from speechrep.errors import InputError
from speechrep.io.ark import write_ark
from speechrep.io.feature_marks import invalidate_all, require_no_data_dir
from speechrep.io.feature_meta import write_meta
from speechrep.io.files import commit_file, temporary_name
from speechrep.io.store import Store
from speechrep.io.table import write_table


def check_espnet(utt_ids: Iterable[str], where: object) -> None:
    """Refuse utterance ids that HDF5 would take for groups."""
    slashed = next((utt_id for utt_id in utt_ids if "/" in utt_id), None)
    if slashed is not None:
        raise InputError(f"utterance {slashed!r} cannot name an HDF5 data set", where=where)


def check_ark(num_layers: int, folder: str | os.PathLike[str]) -> None:
    """Refuse several layers (0: one, without an axis), which no Kaldi matrix holds, and a data directory."""
    if num_layers:
        what = f"{num_layers} layers do not fit a Kaldi matrix"
        raise InputError(what, where=folder, mend="choose one layer")
    require_no_data_dir(folder)


def export_espnet(store: Store, path: str | os.PathLike[str]) -> None:
    """One gzip-free data set (T, D) per utterance at the root, as ESPnet's HDF5 has it, and ``<path>.scp``.

    The table beside it has lines ``utterance file.h5:utterance``.

    Raises:
        InputError: as :func:`check_espnet`.
    """
    path = Path(path)
    check_espnet(store.utt_ids, store.path)
    temporary = temporary_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with h5py.File(temporary, "w") as file:
            for utt_id in store.utt_ids:
                file.create_dataset(utt_id, data=store.read(utt_id))
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    lines = {utt_id: f"{path.absolute()}:{utt_id}" for utt_id in store.utt_ids}
    write_table(path.with_suffix(".scp"), lines)


def export_ark(store: Store, folder: str | os.PathLike[str]) -> None:
    """A feature directory: ``feats.ark``, ``feats.scp``, ``utt2num_frames``, ``features.json``.

    Raises:
        InputError: as :func:`check_ark`.
    """
    folder = Path(folder)
    check_ark(store.num_layers, folder)
    lengths = {u: str(n) for u, n in zip(store.utt_ids, store.num_frames.tolist(), strict=True)}
    items = ((utt_id, store.read(utt_id)) for utt_id in sorted(store.utt_ids))
    invalidate_all(folder)
    write_ark(folder / "feats.ark", items, scp=folder / "feats.scp")
    write_table(folder / "utt2num_frames", lengths)
    # What is written is normalised already; reading it must not do so again.
    write_meta(folder / "features.json", dataclasses.replace(store.meta, dtype="float32"))

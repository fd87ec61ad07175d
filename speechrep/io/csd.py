"""Computational sequences (``.csd``): the HDF5 files in which CMU-MOSEI's authors distribute labels.

Layout: ``/<root name>/data/<video id>/features`` (n, d) and ``.../intervals`` (n, 2) in seconds;
``/<root name>/metadata/<key>`` of shape (1,), a string of JSON each.
"""

import io
import json
import math
import os
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

from speechrep.errors import InputError
from speechrep.io.apart import read_apart
from speechrep.io.files import commit_file, parse_json, temporary_name
from speechrep.io.hdf5 import reading, require_readable, require_sound_heaps
from speechrep.io.hdf5_disk import Disk

REQUIRED = (  # every sequence that is written carries these; published ones lack some now and then
    "root name", "computational sequence description", "dimension names", "computational sequence version",
    "alignment compatible", "dataset name", "dataset version", "creator", "contact",
    "featureset bib citation", "dataset bib citation",
)  # fmt: skip
_SPARE_BYTES = 1 << 30  # of memory to read a file with, and 16 times its size
_FETCH = "fetch the file again from where it came"


class Track(NamedTuple):
    """What one video carries."""

    features: np.ndarray  # (n, d) float32
    intervals: np.ndarray  # (n, 2) float64: start and end in seconds; rows in any order


class Sequence(NamedTuple):
    """A computational sequence."""

    root_name: str
    metadata: dict[str, Any]
    tracks: dict[str, Track]  # by video id, in C order


def read_csd(path: str | os.PathLike[str], cpu_s: int = 0) -> Sequence:
    """Read a computational sequence.

    The library reads in a process apart: there are damaged files of which it dies, or reads for ever.

    Args:
        path: the file.
        cpu_s: seconds of processor time that it may take; 0: two minutes, and a second for each megabyte.

    Raises:
        InputError: no such file, not HDF5, cut short or damaged, another layout, metadata that are no JSON
            or contradict the data, or times that are no numbers; names file and, where it can, the video.
    """
    if not os.path.exists(path):
        raise InputError("no such file", where=path)
    size = os.path.getsize(path)
    cpu_s = cpu_s or 120 + size // 1_000_000
    root, texts, tracks = _unpack(
        read_apart(lambda: _pack(*_read(path)), path, cpu_s, _SPARE_BYTES + 16 * size, _FETCH)
    )
    metadata = {key: _parse_metadata(key, text, path) for key, text in texts.items()}
    if metadata.get("root name", root) != root:
        raise InputError(f"the root is {root!r} but its metadata say {metadata['root name']!r}", where=path)
    names = metadata.get("dimension names")
    for video, track in tracks.items():
        if isinstance(names, list) and track.features.shape[1] != len(names):
            raise InputError(
                f"video {video!r} has {track.features.shape[1]} columns, the metadata name {len(names)}",
                where=path,
            )
    return Sequence(root, metadata, tracks)


def write_csd(
    path: str | os.PathLike[str],
    root_name: str,
    tracks: Mapping[str, Track],
    metadata: Mapping[str, Any],
) -> None:
    """Write a computational sequence, atomically, compressed as the published ones are (gzip level 9).

    Args:
        path: the file.
        root_name: the name of its one group.
        tracks: features and intervals by video id.
        metadata: values for all of :data:`REQUIRED`; "root name", "uuid" and "md5" are filled in.

    Raises:
        InputError: a required key is missing.
    """
    # Same content, same bytes.
    unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{root_name}/{'/'.join(sorted(tracks))}")
    full = {"root name": root_name, "uuid": str(unique), "md5": None, **metadata}
    missing = [key for key in REQUIRED if key not in full]
    if missing:
        raise InputError(f"the metadata lack {missing[0]!r}", where=path)
    temporary = temporary_name(path)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Disk(temporary) as disk, h5py.File(disk, "w") as file:
            group = file.create_group(root_name).create_group("metadata")
            for key, value in sorted(full.items()):
                group.create_dataset(key, (1,), dtype=h5py.string_dtype())[0] = json.dumps(value)
            data = file[root_name].create_group("data")
            for video, track in sorted(tracks.items()):
                for name, values in (("features", track.features), ("intervals", track.intervals)):
                    data.create_dataset(
                        f"{video}/{name}", data=values, compression="gzip", compression_opts=9
                    )
        disk.check(path)
        commit_file(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: str | os.PathLike[str]) -> tuple[str, dict[str, bytes], dict[str, Track]]:
    """Root name, metadata as they are written, and tracks."""
    with reading(path, mend=_FETCH), h5py.File(path, "r") as file:
        require_sound_heaps(path)
        roots = [name for name in _names(file, path) if {"data", "metadata"} <= set(_names(file[name], path))]
        if len(roots) != 1 or len(file) != 1:
            raise InputError(
                f"want one root group with 'data' and 'metadata', found {sorted(file)[:5]}",
                where=path, mend="is this a computational sequence?",
            )  # fmt: skip
        root = file[roots[0]]
        metadata = {
            key: _read_metadata(root["metadata"], key, path) for key in _names(root["metadata"], path)
        }
        videos = sorted(_names(root["data"], path))
        tracks = {video: _read_track(root["data"], video, path) for video in videos}
    return roots[0], metadata, tracks


def _pack(root: str, metadata: dict[str, bytes], tracks: dict[str, Track]) -> bytes:
    """What was read as bytes: a line that tells lengths and shapes, then the content."""
    lengths = {key: len(text) for key, text in metadata.items()}
    shapes = {video: track.features.shape for video, track in tracks.items()}
    parts = [json.dumps([root, lengths, shapes]).encode() + b"\n", *metadata.values()]
    for track in tracks.values():
        parts += [track.features.tobytes(), track.intervals.tobytes()]
    return b"".join(parts)


def _unpack(packed: bytes) -> tuple[str, dict[str, bytes], dict[str, Track]]:
    stream = io.BytesIO(packed)
    root, lengths, shapes = json.loads(stream.readline())
    metadata = {key: stream.read(length) for key, length in lengths.items()}
    tracks = {}
    for video, (n, d) in shapes.items():
        features = np.frombuffer(stream.read(4 * n * d), np.float32).reshape(n, d)
        tracks[video] = Track(features, np.frombuffer(stream.read(16 * n), np.float64).reshape(n, 2))
    return root, metadata, tracks


def _names(node: Any, path: object) -> list[str]:
    """What a group holds; nothing if it is no group."""
    names = list(node) if isinstance(node, h5py.Group) else []
    odd = [name for name in names if not isinstance(name, str)]
    if odd:
        raise InputError(f"{node.name} holds a name that is no text, {odd[0]!r}", where=path)
    return names


def _read_metadata(group: h5py.Group, key: str, path: object) -> bytes:
    node = group[key]
    if not isinstance(node, h5py.Dataset) or node.size != 1:
        raise InputError(f"metadata {key!r} are not one string", where=path)
    require_readable(node, path)
    value = np.ravel(node[()])[0]
    if not isinstance(value, bytes):
        raise InputError(f"metadata {key!r} are no JSON", where=path)
    return value


def _parse_metadata(key: str, text: bytes, path: object) -> Any:
    try:
        return parse_json(text, path)
    except InputError as error:
        raise error.told(f"metadata {key!r} are no JSON: {error.what}") from error


def _read_track(group: h5py.Group, video: str, path: object) -> Track:
    where = f"{path}: video {video!r}"
    arrays = []
    for name, dtype in (("features", np.float32), ("intervals", np.float64)):
        node = group[video].get(name) if isinstance(group[video], h5py.Group) else None
        if not isinstance(node, h5py.Dataset):
            raise InputError(f"no {name!r}", where=where)
        require_readable(node, where)
        try:
            arrays.append(np.asarray(node[()], dtype=dtype))
        except (OSError, RuntimeError) as error:
            raise InputError(f"{name!r} cannot be read: {error}", where=where, mend=_FETCH) from error
        except (TypeError, ValueError) as error:
            raise InputError(f"{name!r} are no numbers", where=where) from error
    features, intervals = arrays
    if features.ndim != 2 or intervals.shape != (len(features), 2):
        raise InputError(
            f"want features (n, d) and intervals (n, 2), found {features.shape} and {intervals.shape}",
            where=where,
        )
    if not math.isfinite(float(intervals.sum())):
        raise InputError("a time is not a number", where=where)
    return Track(features, intervals)

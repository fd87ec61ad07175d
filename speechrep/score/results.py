"""``results.json``: one entry per task, representation, set, metric and seed; several processes may add."""

import fcntl
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechrep import provenance
from speechrep.errors import InputError, telling_of
from speechrep.io.files import read_json, write_json

logger = logging.getLogger("score")

# Entries that agree in these are of the same thing; the newer ones stay, whatever their metrics: a figure
# that could not be had this time is none of the new model.
IDENTITY = ("task", "upstream", "features", "set", "seed")
KEYS = (
    "task", "upstream", "features", "set", "metric", "value", "ci95", "n", "better", "checkpoint", "seed",
    "commit", "created",
)  # fmt: skip


class Figure(NamedTuple):
    """One measured figure."""

    value: float
    ci95: tuple[float, float]
    n: int  # utterances
    better: str  # lower | higher


def add_figures(
    path: str | os.PathLike[str],
    figures: Mapping[str, Figure],
    *,
    task: str,
    upstream: str,
    features: str,
    set_name: str,
    checkpoint: str,
    seed: int,
) -> None:
    """Tell the figures of one scoring, by metric, and add them as of now; see :func:`add_results`."""
    for metric, (value, ci95, *_) in figures.items():
        logger.info("%s %s on %s: %s %.3f [%.3f, %.3f]", upstream, task, set_name, metric, value, *ci95)
    entries = [
        {
            "task": task, "upstream": upstream, "features": features, "set": set_name, "metric": metric,
            "value": figure.value, "ci95": list(figure.ci95), "n": figure.n, "better": figure.better,
            "checkpoint": checkpoint, "seed": seed,
            "commit": provenance.commit(), "created": provenance.now(),
        }
        for metric, figure in figures.items()
    ]  # fmt: skip
    add_results(path, entries)


def add_results(path: str | os.PathLike[str], entries: Sequence[dict[str, Any]]) -> None:
    """Add all figures of a scoring, in place of those of the same thing or of the same retrained checkpoint.

    Args:
        path: ``results.json``; made if absent.
        entries: each with exactly :data:`KEYS`.

    Raises:
        InputError: the file is no list of results.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for entry in entries:
        assert set(entry) == set(KEYS), sorted(set(entry) ^ set(KEYS))
    with open(path.with_name(f".{path.name}.lock"), "w", encoding="utf-8") as lock:
        with telling_of(path):
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when closed, also by a killed process
        old = read_json(path) if path.exists() else []
        if not isinstance(old, list) or not all(isinstance(entry, dict) for entry in old):
            raise InputError("not a list of results", where=path, mend="move it away")
        renewed = {_identity(entry) for entry in entries} | {_checkpoint(entry) for entry in entries}
        kept = [not renewed & {_identity(entry), _checkpoint(entry)} for entry in old]
        place = kept.index(False) if False in kept else len(old)  # where it stood, so does it in the table
        behind = [entry for entry, keep in zip(old[place:], kept[place:], strict=True) if keep]
        write_json(path, [*old[:place], *entries, *behind])


def _identity(entry: dict[str, Any]) -> str:
    return json.dumps([entry.get(key) for key in IDENTITY])


def _checkpoint(entry: dict[str, Any]) -> str:
    return json.dumps([entry.get(key) for key in ("checkpoint", "task", "upstream", "set")])

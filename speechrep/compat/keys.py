"""Weights under other names: one table per foreign model, used in both directions.

Every key of a file is accounted for, one line each; a key that no row names, or that is missing, is an
error and never a half-loaded model.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from speechrep.compat.unpickle import StoredTensor
from speechrep.errors import InputError

Weights = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Row:
    """How one kind of parameter is called there and here."""

    theirs: str  # ``{i}`` stands for a layer's number
    ours: str
    part: int = 0  # ours is ``parts`` of theirs stacked along the first axis; this is the part-th
    parts: int = 1
    last_axis: str = ""  # of length 1, as of a convolution: "maybe" theirs has it, or "always"


@dataclasses.dataclass(frozen=True)
class KeyReport:
    """What became of one key of a file."""

    theirs: str
    ours: str
    shape: tuple[int, ...]

    def line(self) -> str:
        """For people."""
        return f"{self.theirs} {list(self.shape)} -> {self.ours}"


def tensors(values: Any, part: str, where: object) -> Weights:
    """The state dict stored under ``part`` of a checkpoint, loaded, ``module.`` prefixes removed.

    Raises:
        InputError: it is no dictionary of finite floating-point tensors.
    """
    if not isinstance(values, dict) or not values:
        raise InputError(f"{part} is no state dict", where=where)
    bare = {}
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, StoredTensor):
            raise InputError(f"{part}[{key!r}] is a {type(value).__name__}, not a tensor", where=where)
        tensor = value.load()
        if not tensor.is_floating_point():
            raise InputError(f"{part}[{key!r}] holds {tensor.dtype}, not floating-point numbers", where=where)
        tensor = tensor.float()
        if not torch.isfinite(tensor).all():
            raise InputError(f"{part}[{key!r}] holds NaN, infinity or more than float32 does", where=where)
        name = key.removeprefix("module.")
        if name in bare:
            raise InputError(f"{part} holds {name} twice, once as {key}", where=where)
        bare[name] = tensor
    return bare


def to_ours(
    state: Mapping[str, torch.Tensor],
    table: Sequence[Row],
    expected: Mapping[str, torch.Tensor],
    where: object,
    optional: str = "",
) -> tuple[Weights, list[KeyReport]]:
    """Rename a foreign state dict for one of our models.

    Args:
        state: by their names.
        table: the names' correspondence.
        expected: our model's state dict, for names and shapes.
        where: the file, for messages.
        optional: a prefix of our names that may be absent altogether; then they are in no result, either.

    Raises:
        InputError: naming every key that is unknown, missing or of another shape.
    """
    parts: dict[str, dict[int, torch.Tensor]] = {}
    report, wrong = [], []
    for key, value in state.items():
        found = _match(key, table)
        if found is None:
            wrong.append(f"{key} {list(value.shape)} is unknown")
            continue
        row, ours = found
        if row.last_axis and value.ndim == 3 and value.shape[2] == 1:
            value = value[..., 0]
        parts.setdefault(ours, {})[row.part] = value
        report.append(KeyReport(key, ours, tuple(state[key].shape)))
    absent = optional and not any(line.ours.startswith(optional) for line in report)
    counts = {_fill(row.ours, "0"): row.parts for row in table}
    weights: Weights = {}
    for ours, model_value in expected.items():
        got = parts.pop(ours, {})
        if absent and ours.startswith(optional):
            continue
        count = counts.get(re.sub(r"\.\d+\.", ".0.", ours), 1)
        if set(got) != set(range(count)):
            missing = sorted({row.theirs for row in table if _same(row.ours, ours) and row.part not in got})
            wrong.append(f"{' and '.join(missing) or ours} (our {ours}) is missing")
            continue
        value = torch.cat([got[k] for k in range(count)]) if count > 1 else got[0]
        if value.shape != model_value.shape:
            wrong.append(f"our {ours} has shape {list(model_value.shape)}, theirs {list(value.shape)}")
        weights[ours] = value
    wrong += [f"our model has no {ours}" for ours in parts]
    if wrong:
        raise InputError(
            f"{len(wrong)} of its keys do not fit: " + "; ".join(wrong),
            where=where,
            mend="nothing was imported; is it the kind of file that --from says?",
        )
    return weights, report


def to_theirs(weights: Mapping[str, torch.Tensor], table: Sequence[Row], where: object) -> Weights:
    """Rename our state dict for a foreign project; values are copied, so that storages are not shared.

    Raises:
        InputError: a parameter of ours has no place there.
    """
    state: Weights = {}
    for ours, value in weights.items():
        rows = [row for row in table if _same(row.ours, ours)]
        if not rows:
            raise InputError(f"{ours} has no counterpart in that format", where=where)
        number = _number(rows[0].ours, ours)
        for row in rows:
            piece = value.chunk(row.parts)[row.part] if row.parts > 1 else value
            state[_fill(row.theirs, number)] = (
                piece[..., None] if row.last_axis == "always" else piece
            ).clone()
    return state


def _match(key: str, table: Sequence[Row]) -> tuple[Row, str] | None:
    for row in table:
        if _same(row.theirs, key):
            return row, _fill(row.ours, _number(row.theirs, key))
    return None


def _pattern(name: str) -> str:
    return re.escape(name).replace(r"\{i\}", r"(\d+)")


def _same(name: str, key: str) -> bool:
    return re.fullmatch(_pattern(name), key) is not None


def _number(name: str, key: str) -> str:
    found = re.fullmatch(_pattern(name), key)
    return found.group(1) if found is not None and found.groups() else ""


def _fill(name: str, number: str) -> str:
    return name.replace("{i}", number)

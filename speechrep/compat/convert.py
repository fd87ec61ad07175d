"""Other projects' files to experiment directories and back."""

import dataclasses
import io
import json
import logging
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

from speechrep.compat import apc, mockingjay, s3prl
from speechrep.compat.foreign import Foreign, plain, section
from speechrep.compat.keys import KeyReport, to_ours
from speechrep.compat.presets import preset_meta, preset_name, unknown_meta
from speechrep.compat.unpickle import read_checkpoint
from speechrep.config import dump_yaml
from speechrep.errors import InputError
from speechrep.io.feature_meta import FeatureMeta, parse_meta, plain_meta
from speechrep.io.files import atomic_open, sha256, write_json
from speechrep.io.model_files import read_info, weights_sha256
from speechrep.upstream.apc import Apc
from speechrep.upstream.base import Upstream
from speechrep.upstream.card import write_card
from speechrep.upstream.checkpoint import describe, load, outline, put_on, rebuild, save_model
from speechrep.upstream.mockingjay import Mockingjay

PROJECTS = ("mockingjay", "apc", "s3prl")
OURS = "speechrep"
"""The key under which our exports keep what the other format has no place for."""

logger = logging.getLogger("compat")


@dataclasses.dataclass(frozen=True)
class Imported:
    """A foreign model as one of ours, with what became of every key."""

    model: Upstream
    report: list[KeyReport]
    about: dict[str, Any]  # for model.json


def detect(tree: Any, path: object) -> str:
    """Which project's file this is, told by its keys.

    Raises:
        InputError: none of them.
    """
    if isinstance(tree, dict):
        if "Mockingjay" in tree:
            return "mockingjay"
        if "Transformer" in tree or {"model", "config"} <= set(tree):
            return "s3prl"
        if any(str(key).startswith("rnns.") for key in tree):
            return "apc"
    found = sorted(map(str, tree))[:8] if isinstance(tree, dict) else type(tree).__name__
    raise InputError(f"of no known project (it holds {found})", where=path, mend=f"known are {PROJECTS}")


def import_model(
    path: str | os.PathLike[str],
    project: str = "",
    preset: str = "",
    meta: FeatureMeta | None = None,
    residual: str = "",
    time_shift: int = 0,
    embedding_layer: bool = False,
) -> Imported:
    """Read another project's checkpoint.

    Args:
        path: the file.
        project: one of :data:`PROJECTS`; "" looks at its keys.
        preset: name of the features it was made for; "" goes by what the file says.
        meta: those features as a directory of ours describes them, instead of a preset.
        residual: of an original APC file, "all" or "none"; "" goes by its name.
        time_shift: of an original APC file, frames; 0 goes by its name.
        embedding_layer: whether a Mockingjay's input embedding is its hidden layer 0, as in S3PRL.

    Raises:
        InputError: not such a file, or one whose every key does not find its place.
    """
    path = Path(path)
    tree = read_checkpoint(path)
    if isinstance(tree, dict) and {"model", "optimizer", "progress"} <= set(tree):
        raise InputError("a training state of ours", where=path, mend="name its experiment directory instead")
    project = project or detect(tree, path)
    kept = plain(tree.pop(OURS)) if isinstance(tree, dict) and isinstance(tree.get(OURS), dict) else {}
    if project == "mockingjay":
        foreign = mockingjay.read(tree, path)
    elif project == "apc":
        foreign = apc.read(tree, path, residual, time_shift)
    elif project == "s3prl":
        foreign = s3prl.read(tree, path)
    else:
        raise InputError(f"unknown project {project!r}; known are {PROJECTS}")
    notes = list(foreign.notes)
    chosen = _features(foreign, preset, meta, kept, path)
    if chosen.feature == "unknown":
        notes.append(
            "the file does not say what features it was made for: give --preset or --features to use it"
        )
    elif foreign.preset and not (preset or meta or kept):
        notes.append(f"the file does not say its features: {foreign.preset} assumed (--preset or --features)")
    options = foreign.options | dict(section(kept, "config", where=path) if kept else {})
    options |= {"embedding_layer": True} if embedding_layer and foreign.upstream == "mockingjay" else {}
    head = "head." if foreign.upstream == "mockingjay" and not foreign.has_head else ""
    options |= {"target_dim": 0} if head else {}  # no weight would hold it to a size
    info = {
        "upstream": foreign.upstream, "config": options, "input": plain_meta(chosen),
        "cmvn_stats": kept.get("cmvn_stats") if meta is None and not preset else None,
    }  # fmt: skip
    try:
        json.dumps([info, foreign.sequence_length], allow_nan=False)
    except ValueError:
        raise InputError("a number of its description is infinite or none", where=path) from None
    try:
        expected = outline(info, len(foreign.state), path).state_dict()
    except InputError as error:  # sizes that do not go together know nothing of the file they come from
        raise error.told(where=error.where or path) from None
    weights, report = to_ours(foreign.state, foreign.table, expected, path, optional=head)
    with torch.random.fork_rng(devices=[]):  # a head that the file lacks is the same at every reading
        torch.manual_seed(0)
        model = rebuild(info, path)
    model.load_state_dict(model.state_dict() | weights)
    model.weights_sha256 = weights_sha256({name: value.numpy() for name, value in model.state_dict().items()})
    step = tree.get("Step", tree.get("Global_step", 0)) if isinstance(tree, dict) else 0
    about = {
        "from": project, "file": path.name, "file_sha256": sha256(path), "preset": preset_name(chosen),
        "has_head": foreign.has_head, "sequence_length": foreign.sequence_length,
        "step": step if type(step) is int else 0, "notes": notes,
    }  # fmt: skip
    model.about = {"imported": about}
    return Imported(model.eval(), report, about)


def _features(
    foreign: Foreign, preset: str, meta: FeatureMeta | None, kept: dict[str, Any], path: Path
) -> FeatureMeta:
    """The features a model is for: those asked for, those our export noted, or the file's usual ones."""
    if meta is None and not preset and "input" in kept:
        meta = parse_meta(kept["input"], path)
    if meta is None and (preset or foreign.preset):
        meta = preset_meta(preset or foreign.preset)
    if meta is None:
        return unknown_meta(foreign.input_dim)
    if meta.dim != foreign.input_dim:
        raise InputError(
            f"it takes {foreign.input_dim} values per frame, {preset or meta.feature} has {meta.dim}",
            where=path, mend="--preset or --features names the features it was trained on",
        )  # fmt: skip
    return meta


def save_import(imported: Imported, exp_dir: str | os.PathLike[str]) -> str:
    """Write an experiment directory: model, card, options, and ``import.json`` with a line per key."""
    exp_dir = Path(exp_dir)
    rows = [{"theirs": row.theirs, "ours": row.ours, "shape": list(row.shape)} for row in imported.report]
    exp_dir.mkdir(parents=True, exist_ok=True)
    with atomic_open(exp_dir / "config.yaml") as stream:
        stream.write(dump_yaml(imported.model.config, upstream=imported.model.name))
    write_json(exp_dir / "import.json", imported.about | {"keys": rows})
    sha = save_model(exp_dir, imported.model, imported.model.about)
    write_card(exp_dir)
    return sha


def export_model(exp_dir: str | os.PathLike[str], project: str, path: str | os.PathLike[str]) -> list[str]:
    """Write one of our models as another project's file.

    Args:
        exp_dir: an experiment directory, or the ``model.safetensors`` in it.
        project: one of :data:`PROJECTS`.
        path: the file to write.

    Returns:
        What the file's users should know.

    Raises:
        InputError: that project has no such model, or its format would lose something.
    """
    model, info = load(exp_dir), read_info(exp_dir)
    about = info.get("imported", {})
    step = int(info.get("step", about.get("step", 0)))
    has_head = bool(about.get("has_head", True))
    preset = preset_name(model.meta)
    try:
        if isinstance(model, Mockingjay) and project == "mockingjay":
            content, notes = mockingjay.write(model, has_head, step)
            if about.get("sequence_length"):
                notes = [*notes, "S3PRL's pieces of so many frames have no place in it"]
        elif isinstance(model, Mockingjay) and project == "s3prl":
            length = int(about.get("sequence_length", 0))
            content, notes = s3prl.write_transformer(model, has_head, step, preset, length)
        elif isinstance(model, Apc) and project == "apc":
            content, notes = apc.write(model)
        elif isinstance(model, Apc) and project == "s3prl":
            content, notes = s3prl.write_apc(model, step, preset)
        else:
            raise InputError(f"{project} has no counterpart of the model {model.name!r}", where=exp_dir)
    except InputError as error:
        where = exp_dir if error.where in ("", "the model") else error.where
        raise error.told(f"not exported: {error.what}", where=where) from None
    if project != "apc":  # a bare state dict has no room for it, and its loader takes no other key
        content[OURS] = describe(model)
    write_torch(content if project != "apc" else OrderedDict(content), path, old=project != "s3prl")
    return notes


def write_torch(content: Any, path: str | os.PathLike[str], old: bool) -> None:
    """``torch.save``, complete or not at all; ``old`` in the format that every torch reads."""
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    with atomic_open(path, "wb") as stream:
        stream.write(buffer.getbuffer())


def load_any(path: str | os.PathLike[str], device: torch.device | str = "cpu") -> Upstream:
    """A model of ours or another project's, in evaluation mode and frozen.

    Args:
        path: an experiment directory, its ``model.safetensors``, or another project's checkpoint.
        device: where to put it.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder", where=path)
    if not path.is_file() or path.suffix in (".json", ".safetensors"):
        return load(path, device)
    model = import_model(path).model
    logger.info("%s: read as another project's checkpoint for the features %s", path, preset_name(model.meta))
    return put_on(device, model.requires_grad_(False))

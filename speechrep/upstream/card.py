"""The model card of an upstream: ``README.md`` in its folder, with the fields that model hubs read."""

import json
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from speechrep.config import load_yaml
from speechrep.errors import InputError
from speechrep.io.files import atomic_open, read_train_log, read_utf8
from speechrep.io.model_files import TRAIN_LOG, WEIGHTS, model_folder, read_info

UNKNOWN = "unknown"
_HEAD = re.compile(r"---\r?\n(.*?)\n---\r?\n", re.DOTALL)
MARK = "<!-- written by speechrep; delete this line to keep your changes -->"


def licence_of(path: str | os.PathLike[str]) -> str:
    """The licence that the card of a model tells of; "" if there is none, or it is not known.

    Args:
        path: the model's folder, or a file of it.
    """
    card_path = model_folder(path) / "README.md"
    if not card_path.is_file():
        return ""
    try:
        head = _HEAD.match(read_utf8(card_path))
        found = load_yaml(head[1], card_path).get("license") if head else None
    except InputError:  # somebody's own words, which no model depends on
        return ""
    return found if isinstance(found, str) and found != UNKNOWN else ""


def write_card(exp_dir: str | os.PathLike[str], licence: str = "") -> Path:
    """Write ``README.md`` from what the folder's other files say; a card without our mark is left alone.

    Args:
        exp_dir: a trained or imported upstream.
        licence: the weights' licence, an identifier such as "cc-by-4.0"; "" for that of the card before.

    Returns:
        The card's path.

    Raises:
        InputError: there is no upstream in the folder.
    """
    folder = model_folder(exp_dir)
    path = folder / "README.md"
    if path.exists() and MARK.encode() not in path.read_bytes():
        return path
    info = read_info(folder)
    if info.get("kind") != "upstream":
        raise InputError("not an upstream", where=folder / "model.json")
    licence = licence or licence_of(folder) or UNKNOWN
    text = card(info, _options(folder), read_train_log(folder / TRAIN_LOG), _num_parameters(folder), licence)
    with atomic_open(path) as stream:
        stream.write(text)
    return path


def card(
    info: dict[str, Any],
    options: dict[str, Any],
    log: list[dict[str, Any]],
    num_parameters: int,
    licence: str,
) -> str:
    """The card's text.

    Args:
        info: the content of ``model.json``.
        options: of the run that trained it, from ``config.yaml``; {} if unknown.
        log: the lines of ``train_log.jsonl``; [] if there are none.
        num_parameters: how many values the weights have.
        licence: the weights' licence.
    """
    name, features = info["upstream"], info["input"]
    head = yaml.safe_dump(
        {"license": licence, "library_name": "speechrep", "tags": ["speech", "self-supervised", name]},
        sort_keys=False,
    )
    cmvn = (
        features["cmvn"]
        if features["norm_vars"] or features["cmvn"] == "none"
        else f"{features['cmvn']}, mean"
    )
    alone = ", but normalised over the recording, not all of its speaker's" * (features["cmvn"] == "speaker")
    rows = [
        ("parameters", f"{num_parameters:,}"),
        ("weights", f"SHA-256 `{info['weights_sha256'][:16]}`"),
        ("input", f"{features['feature']}, {features['dim']} values every {features['frame_shift_ms']:g} ms"),
        ("normalisation", cmvn),
        ("sample rate", f"{features['sample_rate']} Hz"),
        ("made", f"{info['created']}, commit `{info['commit'][:12]}`"),
    ]
    parts = [
        f"---\n{head}---\n{MARK}\n",
        f"# {name}\n",
        _table(("", ""), rows),
        "## Use\n",
        '```python\nimport speechrep\n\nmodel = speechrep.load("path/to/this/folder")\n'
        'hiddens = model.extract_file("audio.wav").hiddens  # one (1, T, D) tensor per layer\n```\n',
        f"The folder holds all that is needed; features are made as the model was trained on them{alone}.\n",
        "## Training\n",
        *_training(info, options, log),
        "## Configuration\n",
        "```json\n" + json.dumps(info["config"], indent=2) + "\n```\n",
        "```json\n" + json.dumps(features["config"], indent=2) + "\n```\n",
    ]
    return "\n".join(parts)


def _training(info: dict[str, Any], options: dict[str, Any], log: list[dict[str, Any]]) -> list[str]:
    if "changed_from" in info:
        first = " imported from another project" if "imported" in info else ""
        old = f"the weights `{info['changed_from'][:16]}`{first}"
        return [f"From {old}, changed since or kept in another number format; how is not told.\n"]
    if "imported" in info:
        source = info["imported"]
        notes = "".join(f"- {note}\n" for note in source["notes"])
        digest = source["file_sha256"][:16]
        text = f"Imported from the {source['from']} file `{source['file']}`, SHA-256 `{digest}`.\n"
        return [text, *([notes] if notes else [])]
    told = [
        (label, f"`{options[key]}`")
        for label, key in (
            ("training data", "train-dir"), ("validation data", "valid-dir"), ("seed", "seed"),
            ("optimiser", "optimizer"), ("peak learning rate", "lr"), ("precision", "precision"),
        )
        if isinstance(options.get(key), (str, int, float))  # nothing nested, which may be without end
    ]  # fmt: skip
    if "begun_from" in info:
        begun = info["begun_from"]
        source = f", imported from `{begun['imported']['file']}`" if "imported" in begun else ""
        told.append(("begun with the weights", f"`{begun['weights_sha256'][:16]}`{source}"))
    told.append(("steps", str(max((line["step"] for line in log), default=info.get("step", 0)))))
    told.append(("step of these weights", str(info.get("step", "unknown"))))
    parts = [_table(("", ""), told)]
    valid = [line for line in log if line["part"] == "valid"]
    train = {line["step"]: line for line in log if line["part"] == "train"}
    if valid:
        shown = _spread(valid, 8)
        rows = [(str(line["step"]), _loss(line), _loss(train.get(line["step"]))) for line in shown]
        parts.append(_table(("step", "validation loss", "training loss"), rows))
    return parts


def _loss(line: dict[str, Any] | None) -> str:
    loss = "" if line is None else line["loss"]
    return f"{loss:.4f}" if isinstance(loss, float) else str(loss)  # an int may be too large for a float


def _spread(lines: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """At most ``count`` of the lines, evenly, the first and the last among them."""
    if len(lines) <= count:
        return lines
    return [lines[round(i * (len(lines) - 1) / (count - 1))] for i in range(count)]


def _table(titles: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def _options(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    with path.open("rb") as stream:
        return load_yaml(stream, path)


def _num_parameters(folder: Path) -> int:
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, "numpy") as weights:
        names = weights.keys()
        return sum(math.prod(weights.get_slice(name).get_shape()) for name in names)

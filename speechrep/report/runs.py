"""What an experiment's folder tells of its making: models, options, commands, times."""

import datetime
import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from speechrep import provenance
from speechrep.config import load_yaml
from speechrep.errors import InputError
from speechrep.io.files import read_utf8
from speechrep.io.model_files import INFO, read_info

STAGES = ("data", "features", "pre-training", "representations", "downstream training", "decoding and scores")
PACKAGES = ("speechrep", "torch", "numpy", "opencv-python-headless", "h5py", "safetensors", "sentencepiece",
            "soundfile", "matplotlib")  # fmt: skip


class Run(NamedTuple):
    """A trained model of the experiment, or one of another that it uses."""

    name: str
    folder: Path
    info: dict[str, Any]
    """Its ``model.json``; empty where that is damaged."""
    damage: str = ""
    """What is wrong with it."""

    @property
    def is_upstream(self) -> bool:
        """Whether it is an upstream, not a task."""
        return self.info.get("kind") == "upstream"


class Step(NamedTuple):
    """A command that the recipe ran, as its log tells."""

    stage: int
    name: str
    command: str
    seconds: float | None
    """None if it has not ended well."""
    began: str


def read_runs(
    exp: str | os.PathLike[str], names: Sequence[str] = (), reused: Sequence[str | os.PathLike[str]] = ()
) -> list[Run]:
    """The models of an experiment, upstreams first, in the order of ``names``.

    Args:
        exp: the experiment.
        names: upstreams and tasks in the order of the table.
        reused: folders of upstreams of other experiments; their names tell so.
    """
    others = [Path(folder) for folder in reused]
    unused = {folder.name for folder in others}  # made before by this experiment
    own = [path.parent for path in sorted(Path(exp).glob(f"*/{INFO}")) if path.parent.name not in unused]
    runs = [_run(folder.name, folder) for folder in own if folder.suffix != ".old"]  # by a changed step
    runs += [_run(f"{folder.name} (reused from {folder.parent.name})", folder) for folder in others]
    place = {name: i for i, name in enumerate(names)}

    def order(run: Run) -> tuple[bool, int, int, str]:
        name = run.folder.name
        task, _, upstream = name.partition("_")
        if run.is_upstream:
            return False, place.get(name, len(place)), 0, name
        return True, place.get(task, len(place)), place.get(upstream, len(place)), name

    return sorted(runs, key=order)


def _run(name: str, folder: Path) -> Run:
    try:
        return Run(name, folder, read_info(folder))
    except InputError as error:
        return Run(name, folder, {}, str(error))


def read_steps(logs: str | os.PathLike[str]) -> list[Step]:
    """The steps whose logs ``<stage>_<name>.log`` lie in a folder, in the order in which they began."""
    steps = []
    for path in Path(logs).glob("*.log"):
        named = re.fullmatch(r"(\d+)_(.+)\.log", path.name)
        if named is None or not path.is_file():
            continue
        with open(path, "rb") as stream:
            head = stream.read(20000).decode(errors="replace")
            stream.seek(max(0, path.stat().st_size - 2000))
            tail = stream.read().decode(errors="replace")
        command = re.match(r"# (.*)", head)
        began = re.search(r"^# Started at (.*)$", head, re.MULTILINE)
        took = re.findall(r"^# Accounting:.*?\btime=(\d+(?:\.\d+)?)", tail, re.MULTILINE)
        well = re.search(r"^# Ended \(code 0\)|^# Finished at .* with status 0", tail, re.MULTILINE)
        steps.append(
            Step(
                int(named[1]),
                named[2],
                command[1] if command else "",
                float(took[-1]) if took and well else None,
                began[1].strip() if began else "",
            )
        )
    return sorted(steps, key=lambda step: (step.stage, _sortable(step.began), step.name))


def read_options(run: Run) -> str:
    """The text of a run's ``config.yaml``; "" if it has none."""
    path = run.folder / "config.yaml"
    return read_utf8(path) if path.is_file() else ""


def path_option(run: Run, name: str) -> str:
    """A path in ``config.yaml``, which counts from a folder above the run, the recipe's; "" if not there."""
    given = load_yaml(read_options(run), run.folder / "config.yaml").get(name)
    return found_above(run.folder, str(given)) if given else ""


def found_above(path: str | os.PathLike[str], given: str) -> str:
    """What ``given`` names, counted from the nearest folder above ``path`` that has it; else ``given``."""
    found = (base / given for base in Path(path).absolute().parents if os.path.exists(base / given))
    return str(next(found, given))


def info_of(checkpoint: str | os.PathLike[str]) -> dict[str, Any]:
    """The ``model.json`` of a result's model; empty if that is gone, or damaged."""
    try:
        return read_info(Path(checkpoint).parent)
    except InputError:
        return {}


def versions() -> list[tuple[str, str]]:
    """What the report was made with; a training's own commit stands in its ``model.json``."""
    told = [("Python", platform.python_version()), ("machine", provenance.machine())]
    for name in PACKAGES:
        try:
            told.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            if name == "speechrep":  # run from a checkout
                told.append((name, provenance.commit()))
    return told


def _sortable(began: str) -> str:
    """The output of ``date`` so that text order is time order; unknown ones last."""
    try:
        without_zone = re.sub(r" \S+ (?=\d+$)", " ", began)
        return datetime.datetime.strptime(without_zone, "%a %b %d %H:%M:%S %Y").isoformat()
    except ValueError:
        return "~"

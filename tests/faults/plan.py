"""What is injected where: the tests do all of it, and the page must tell of all of it."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from commands import CHECKED, TARGETS, Target
from faults import Bench, Seen, disk_fills_up, machine_goes_down, two_runs
from lab import Lab

STAGES = ("0 data", "1 features", "2 pre-training", "3 representations", "4 downstream", "5 scores")
FAULTS = ("kill -9", "full disk", "read error", "corrupted byte", "worker dies", "two runs")
POINTS, BYTES = 2, 2


class OfTarget(NamedTuple):
    """A fault of one command."""

    fault: str
    detail: str
    inject: Callable[[Bench], Seen]


class OfStage(NamedTuple):
    """A fault of a whole stage."""

    fault: str
    detail: str
    inject: Callable[[Lab, float], Seen]  # with the seconds that the stage takes


def of_target(target: Target) -> Iterator[OfTarget]:
    """One command: kills, full disks, read errors, changed bytes, a worker's death."""
    for n in range(POINTS):
        yield OfTarget("kill -9", target.marker, lambda bench, n=n: bench.kill(n))
        yield OfTarget("full disk", target.marker, lambda bench, n=n: bench.full_disk(n))
    for kind in target.files | target.state:
        yield OfTarget("read error", kind, lambda bench, kind=kind: bench.read_error(kind))
        if kind in target.files:  # what a killed run left is read by the command in any case
            yield OfTarget("read error", f"{kind}, command alone",
                           lambda bench, kind=kind: bench.read_error(kind, alone=True))  # fmt: skip
        for n in range(BYTES * (4 if kind == ".csd" else 1)):  # which is mostly empty
            yield OfTarget("corrupted byte", kind, lambda bench, kind=kind, n=n: bench.corrupt(kind, n))
        for n in range(BYTES if kind in CHECKED else 0):
            yield OfTarget("corrupted byte", f"{kind}, command alone",
                           lambda bench, kind=kind, n=n: bench.corrupt(kind, n, alone=True))  # fmt: skip
    if target.workers:
        yield OfTarget("worker dies", target.marker, Bench.worker_dies)


def of_stage(stage: int) -> Iterator[OfStage]:
    """A whole stage as users run it: all processes killed, a disk that fills up, two runs at once."""
    yield OfStage("kill -9", "all processes", lambda lab, seconds: machine_goes_down(lab, stage, seconds, 0))
    yield OfStage("full disk", "tmpfs", lambda lab, _: disk_fills_up(lab, stage))
    yield OfStage("two runs", "same command", lambda lab, _: two_runs(lab, stage))
    if stage < 2:  # data and features are shared by experiments
        yield OfStage("two runs", "other experiment", lambda lab, _: two_runs(lab, stage, "--tag", "other"))


def row(recipe: str, stage: int, target: str, fault: str, detail: str) -> dict[str, str]:
    """What tells an injection from others; ``target``: a marker, or "" for the whole stage."""
    return {"recipe": recipe, "stage": STAGES[stage], "target": target, "fault": fault, "detail": detail}


def whole() -> Iterator[dict[str, str]]:
    """The rows of all injections into both recipes, without what came of them."""
    for recipe, targets in TARGETS.items():
        for target in targets:
            for one in of_target(target):
                yield row(recipe, target.stage, target.marker, one.fault, one.detail)
        for stage in range(len(STAGES)):
            for one in of_stage(stage):
                yield row(recipe, stage, "", one.fault, one.detail)

"""The tests of a recipe, made the same for both."""

import time
from collections.abc import Callable

import pytest
from commands import CHECKED, TARGETS, Target
from faults import Bench, Seen, disk_fills_up, machine_goes_down, two_runs
from lab import Lab
from matrix import STAGES

POINTS, BYTES = 2, 2
Record = Callable[..., None]


class Cases:
    """Inherited by a test class that sets ``recipe``."""

    recipe = ""

    @pytest.fixture
    def lab(self, labs: Callable[..., Lab]) -> Lab:
        return labs(self.recipe)

    def note(self, record: Record, stage: int, fault: str, detail: str, seen: Seen) -> list[str]:
        record(recipe=self.recipe, stage=STAGES[stage], fault=fault, detail=detail, outcome=seen.outcome,
               what=seen.what)  # fmt: skip
        return [f"{fault}, {detail}: {seen.what}"] if seen.outcome == "LOST" else []

    def test_command(self, lab: Lab, record: Record, target: Target) -> None:
        """One command: kills, full disks, read errors, changed bytes, a worker's death."""
        bench = Bench(lab, target)
        lost = []
        for number in range(POINTS):
            lost += self.note(record, target.stage, "kill -9", target.marker, bench.kill(number))
            lost += self.note(record, target.stage, "full disk", target.marker, bench.full_disk(number))
        for kind in target.files | target.state:
            lost += self.note(record, target.stage, "read error", kind, bench.read_error(kind))
            for number in range(BYTES * (4 if kind == ".csd" else 1)):  # which is mostly empty
                seen = bench.corrupt(kind, number)
                lost += self.note(record, target.stage, "corrupted byte", kind, seen)
            for number in range(BYTES if kind in CHECKED else 0):
                seen = bench.corrupt(kind, number, alone=True)
                lost += self.note(record, target.stage, "corrupted byte", f"{kind}, command alone", seen)
        if target.workers:
            lost += self.note(record, target.stage, "worker dies", target.marker, bench.worker_dies())
        assert not lost, "\n".join(lost)

    def test_stage(self, lab: Lab, record: Record, stage: int) -> None:
        """The whole stage as users run it: all processes killed, a disk that fills up, two runs at once."""
        lab.restore(stage)
        began = time.monotonic()
        assert lab.run(stage).status == 0
        seconds = time.monotonic() - began
        assert not lab.differences(stage)
        seen = machine_goes_down(lab, stage, seconds, 0)
        lost = self.note(record, stage, "kill -9", "all processes", seen)
        seen = disk_fills_up(lab, stage)
        if seen:
            lost += self.note(record, stage, "full disk", "tmpfs", seen)
        lost += self.note(record, stage, "two runs", "same command", two_runs(lab, stage))
        if stage < 2:  # data and features are shared by experiments
            lost += self.note(
                record, stage, "two runs", "other experiment", two_runs(lab, stage, "--tag", "other")
            )
        assert not lost, "\n".join(lost)


def parameters(recipe: str) -> Callable[[pytest.Metafunc], None]:
    """The pytest_generate_tests of a recipe's file."""

    def generate(metafunc: pytest.Metafunc) -> None:
        if "target" in metafunc.fixturenames:
            names = [f"{target.stage}-{target.marker.split('/')[-1]}" for target in TARGETS[recipe]]
            metafunc.parametrize("target", TARGETS[recipe], ids=names)
        if "stage" in metafunc.fixturenames:
            metafunc.parametrize("stage", range(len(STAGES)))

    return generate

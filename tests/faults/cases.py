"""The tests of a recipe, made the same for both."""

import time
from collections.abc import Callable

import pytest
from commands import TARGETS, Target
from faults import Bench, Seen
from lab import Lab
from plan import STAGES, of_stage, of_target, row

Record = Callable[..., None]


class Cases:
    """Inherited by a test class that sets ``recipe``."""

    recipe = ""

    @pytest.fixture
    def lab(self, labs: Callable[..., Lab]) -> Lab:
        return labs(self.recipe)

    def note(self, record: Record, seen: Seen, *where: object) -> list[str]:
        about = row(self.recipe, *where)
        record(**about, outcome=seen.outcome, what=seen.what)
        return [f"{about['fault']}, {about['detail']}: {seen.what}"] if seen.outcome == "LOST" else []

    def test_command(self, lab: Lab, record: Record, target: Target) -> None:
        bench = Bench(lab, target)
        lost = []
        for one in of_target(target):
            seen = one.inject(bench)
            lost += self.note(record, seen, target.stage, target.marker, one.fault, one.detail)
        assert not lost, "\n".join(lost)

    def test_stage(self, lab: Lab, record: Record, stage: int) -> None:
        lab.restore(stage)
        began = time.monotonic()
        assert lab.run(stage).status == 0
        seconds = time.monotonic() - began
        assert not lab.differences(stage)
        lost = []
        for one in of_stage(stage):
            lost += self.note(record, one.inject(lab, seconds), stage, "", one.fault, one.detail)
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

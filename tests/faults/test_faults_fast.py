"""A few faults in what needs no torch: the rest of the suite, as the slow tests, meets every stage."""

from collections.abc import Callable

import pytest
from commands import TARGETS
from faults import Bench, two_runs
from lab import Lab
from matrix import OUTCOMES, STAGES, page


@pytest.fixture
def lab(labs: Callable[..., Lab]) -> Lab:
    return labs("librispeech", light=True)


def test_extraction(lab: Lab):
    bench = Bench(lab, TARGETS["librispeech"][2])
    assert bench.target.stage == 1
    assert bench.operations > 10
    seen = [bench.kill(0), bench.kill(1)]
    assert {one.outcome for one in seen} <= {"recovered", "unaffected"}, seen
    for one in (bench.corrupt("JSON (job)", 0), bench.corrupt("JSON (job)", 1)):
        assert one.outcome == "unaffected", one
    assert bench.read_error("JSON (job)").outcome == "refused"
    for one in (bench.full_disk(0), bench.read_error("FLAC"), bench.corrupt("FLAC", 1), bench.worker_dies()):
        assert one.outcome == "refused", one


def test_two_experiments_share_features(lab: Lab):
    assert two_runs(lab, 1, "--tag", "other").outcome in ("refused", "unaffected")


def test_the_page_counts_every_outcome():
    rows = [
        {"recipe": "mosei", "stage": STAGES[number % 6], "fault": "corrupted byte", "detail": "WAV",
         "outcome": outcome, "what": "byte 7"}
        for number, outcome in enumerate([*OUTCOMES, "refused"])
    ]  # fmt: skip
    text = page(rows, "abc", "2026-01-01")
    assert "| refused | 2 |" in text
    assert (
        "| corrupted byte | 1 refused | 1 recovered | 1 unaffected | 1 unnoticed | 1 LOST | 1 refused |"
        in text
    )
    assert "- mosei, stage 3 representations, WAV: byte 7" in text

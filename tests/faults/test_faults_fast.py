"""A few faults in what needs no torch: the rest of the suite, as the slow tests, meets every stage."""

import json
from collections.abc import Callable
from pathlib import Path

import matrix
import pytest
from commands import TARGETS
from faults import Bench, two_runs
from lab import Lab
from matrix import OUTCOMES, page
from plan import STAGES, whole

from tests.fuzz.record import HEADING


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
    cells = ("2 refused", "1 recovered", "1 unaffected", "1 unnoticed", "1 not tried", "1 LOST")
    assert f"| corrupted byte | {' | '.join(cells)} |" in text
    unnoticed, not_tried = text.split("## Every unnoticed change")[1].split("## What could not be tried")
    assert "- mosei, stage 3 representations, WAV: byte 7" in unnoticed
    assert "- mosei, stage 4 downstream, WAV: byte 7" in not_tried


@pytest.fixture
def write_page(tmp_path, monkeypatch):
    """Call with rows; returns the page."""

    def call(rows: list[dict]) -> Path:
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        out = tmp_path / "page.md"
        monkeypatch.setattr("sys.argv", ["matrix.py", str(tmp_path / "rows.jsonl"), "--out", str(out)])
        matrix.main()
        return out

    return call


def test_the_page_is_written_only_of_all_injections(write_page, tmp_path):
    rows = [about | {"outcome": "refused", "what": ""} for about in whole()]
    text = write_page(rows).read_text()
    assert f"{len(rows)} injections" in text and text.count(HEADING) == 1
    (tmp_path / "page.md").unlink()
    tmpfs = next(row for row in rows if row["detail"] == "tmpfs")
    of_mosei_scores = [row for row in rows if row["target"] == "exp/demo/.done/score_sentiment_apc_mini_test"]
    with pytest.raises(SystemExit) as told:
        write_page([row for row in rows if row is not tmpfs and row not in of_mosei_scores])
    lines = str(told.value).splitlines()[1:]
    assert "librispeech, 0 data, full disk, tmpfs: 1" in lines
    name = "mosei, 5 scores, exp/demo/.done/score_sentiment_apc_mini_test, corrupted byte, text (hyp): 2"
    assert name in lines and sum(int(line.split(": ")[-1]) for line in lines) == len(of_mosei_scores) + 1
    assert not (tmp_path / "page.md").exists()


def test_what_was_lost_is_an_error_and_the_page_stays_whole(write_page, tmp_path):
    rows = [about | {"outcome": "refused", "what": ""} for about in whole()]
    rows[0]["outcome"] = "LOST"
    with pytest.raises(SystemExit, match="something was lost"):
        write_page(rows)
    text = (tmp_path / "page.md").read_text()
    assert "| LOST | 1 |" in text and HEADING in text

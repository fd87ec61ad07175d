"""Scores against the share of labels: what is read, its means and spreads, and the page."""

import json
import math

import pytest

from speechrep.bin import label_share as command
from speechrep.errors import InputError
from speechrep.report.label_share import curves, draw, markdown, read_shares

ENTRY = {
    "task": "phone", "upstream": "apc", "features": "fbank80", "set": "test", "metric": "accuracy",
    "value": 70.0, "ci95": [60.0, 80.0], "n": 20, "better": "higher", "checkpoint": "exp/x", "seed": 1,
    "commit": "abc", "created": "2026-01-01T00:00:00+00:00",
}  # fmt: skip


def write(path, *changes):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([ENTRY | change for change in changes]))


@pytest.fixture
def exp(tmp_path):
    """Two rows of which a tenth was tried in two draws, one of which it was not, and a task without any."""
    write(
        tmp_path / "results.json",
        {}, {"upstream": "fbank", "value": 60.0}, {"upstream": "other"}, {"task": "verification"},
    )  # fmt: skip
    write(
        tmp_path / "label_share/0.1.json",
        {"value": 50.0}, {"value": 54.0, "seed": 2},
        {"upstream": "fbank", "value": 40.0}, {"upstream": "fbank", "value": 40.0, "seed": 2},
    )  # fmt: skip
    return tmp_path


def test_mean_and_spread_over_draws(exp):
    (found,) = curves(read_shares(exp), ["fbank", "apc"])
    assert list(found.rows) == ["fbank", "apc"]
    tenth, whole = found.rows["apc"].values()
    assert (tenth.value, tenth.seeds, whole.value) == (52.0, 2, 70.0)
    assert tenth.spread == pytest.approx(math.sqrt(8)) and math.isnan(whole.spread)
    assert markdown([found]).splitlines() == [
        "## phone, accuracy %↑, test",
        "",
        "| representation | 10 % | 100 % |",
        "| --- | --- | --- |",
        "| fbank | 40.0 ± 0.0 | 60.0 |",
        "| apc | 52.0 ± 2.8 | 70.0 |",
    ]


def test_a_share_that_a_row_lacks_is_left_out(exp):
    """Of correlations three digits count."""
    write(exp / "results.json", {"metric": "corr"}, {"metric": "corr", "upstream": "fbank", "value": 0.12345})
    write(exp / "label_share/0.1.json", {"metric": "corr", "upstream": "fbank", "value": 0.1})
    write(exp / "label_share/0.5.json", {"metric": "corr", "value": 0.25})
    (found,) = curves(read_shares(exp), ["fbank", "apc"])
    assert markdown([found]).splitlines()[2:] == [
        "| representation | 10 % | 50 % | 100 % |",
        "| --- | --- | --- | --- |",
        "| fbank | 0.100 | - | 0.123 |",
        "| apc | - | 0.250 | 70.000 |",
    ]


def test_scores_are_drawn_over_percent_with_their_spread(exp):
    (found,) = curves(read_shares(exp), ["fbank", "apc"])
    axis = draw(found).axes[0]
    fbank, apc = ([part[0].get_xydata().tolist(), part[2][0].get_segments()] for part in axis.containers)
    assert fbank[0] == [[10, 40], [100, 60]] and apc[0] == [[10, 52], [100, 70]]
    (few, whole), spread = apc[1], math.sqrt(8)
    assert few[:, 1] == pytest.approx([52 - spread, 52 + spread]) and whole[:, 1].tolist() == [70, 70]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["10", "100"]


def test_shares_rise_whatever_the_order_of_the_files(exp):
    for share in ("0.5", "0.02", "0.3", "0.007"):
        write(exp / f"label_share/{share}.json", {})
    assert list(read_shares(exp)) == [0.007, 0.02, 0.1, 0.3, 0.5, 1.0]


def test_only_the_draws_that_are_asked_for(exp):
    draws = ["phone/apc/test", "phone/apc/test@0.1#2"]
    (found,) = curves(read_shares(exp, draws))
    assert [(name, row[0.1].value, row[0.1].seeds) for name, row in found.rows.items()] == [("apc", 54.0, 1)]
    assert found.rows["apc"][1.0].value == 70.0
    (found,) = curves(read_shares(exp, ["phone/apc/test"]))  # no draw is named: all
    assert found.rows["apc"][0.1].seeds == 2


def test_the_command(exp, capsys):
    write(exp / "label_share/0.5.json", {"set": "a:test"}, {"set": "a:test", "metric": "f1"})
    command.main(["--exp-dir", str(exp)])
    assert "| apc | 52.0 ± 2.8 | 70.0 |" in capsys.readouterr().out
    assert "| apc | 52.0 ± 2.8 | 70.0 |" in (exp / "label_share/RESULTS.md").read_text()
    pictures = sorted(path.name for path in exp.glob("label_share/*.png"))
    assert pictures == ["phone_a_test_accuracy.png", "phone_test_accuracy.png"]
    for path in exp.glob("label_share/*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_the_commands_order_and_choice(exp, capsys):
    command.main(["--exp-dir", str(exp), "--order", "fbank apc"])
    told = capsys.readouterr().out
    assert told.index("| fbank |") < told.index("| apc |")
    command.main(["--exp-dir", str(exp), "--order", "apc fbank"])
    told = capsys.readouterr().out
    assert told.index("| apc |") < told.index("| fbank |")
    command.main(["--exp-dir", str(exp), "--only", "phone/apc/test", "phone/apc/test@0.1#2"])
    told = capsys.readouterr().out
    assert "| apc | 54.0 | 70.0 |" in told and "fbank" not in told


def test_what_is_missing_is_told(exp):
    (exp / "label_share/x.json").write_text("[]")
    with pytest.raises(InputError, match=r"x\.json: is not named by a share"):
        command.main(["--exp-dir", str(exp)])
    for path in exp.glob("label_share/*"):
        path.unlink()
    with pytest.raises(InputError, match="no scores with a part of the labels"):
        command.main(["--exp-dir", str(exp)])

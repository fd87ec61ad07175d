"""The table of results: order, controls, intervals, and the refusal of what is no result."""

import json
import re

import pytest

from speechrep.bin import report
from speechrep.errors import InputError
from speechrep.io.model_files import write_model
from speechrep.report import html, intervals, style
from speechrep.report.table import in_order, is_control, is_rate, markdown, read_results, terminal


def entry(task="phone", upstream="fbank", value=50.04, metric="accuracy", **changed):
    plain = {
        "task": task, "upstream": upstream, "features": "fbank80", "set": "mini_test", "metric": metric,
        "value": value, "ci95": [value - 1, value + 1], "n": 66, "better": "higher", "checkpoint": "exp/x",
        "seed": 1, "commit": "abc", "created": "2026-01-02T03:04:05+00:00",
    }  # fmt: skip
    return plain | changed


@pytest.fixture
def results(tmp_path):
    path = tmp_path / "results.json"

    def write(*entries):
        path.write_text(json.dumps(entries))
        return path

    return write


def test_rows_are_representations_and_columns_tasks(results):
    path = results(
        entry(upstream="apc_untrained", value=62),
        entry(),
        entry(upstream="apc", value=70),
        entry("asr", "apc", 12.34, "wer", better="lower", n=60),
    )
    assert terminal(read_results(path)).splitlines() == [
        "representation           features  phone              asr",
        "                                   accuracy %↑        wer %↓",
        "                                   mini_test, n = 66  mini_test, n = 60",
        "-----------------------  --------  -----------------  -----------------",
        "fbank                    fbank80   50.0 [49.0, 51.0]  -",
        "apc                      fbank80   70.0 [69.0, 71.0]  12.3 [11.3, 13.3]",
        "apc_untrained (control)  fbank80   62.0 [61.0, 63.0]  -",
    ]


def test_named_order(results):
    entries = [entry(task, upstream) for task in ("asr", "phone") for upstream in ("apc", "new", "fbank")]
    order = ["fbank", "apc", "phone", "fbank"]  # the first place of a name is its place
    lines = terminal(in_order(read_results(results(*entries)), order)).splitlines()
    assert lines[0].split() == ["representation", "features", "phone", "asr"]
    assert [line.split()[0] for line in lines[4:]] == ["fbank", "apc", "new"]


def test_checkpoints_count_from_the_recipes_folder(results, tmp_path, monkeypatch):
    (tmp_path / "exp/x").mkdir(parents=True)
    path = results(entry(), entry(upstream="apc", checkpoint="exp/gone"))
    monkeypatch.chdir("/")
    assert [result.checkpoint for result in read_results(path)] == [str(tmp_path / "exp/x"), "exp/gone"]


def test_correlation_and_error_are_no_percentages(results):
    lines = terminal(read_results(results(entry("sentiment", "apc", 0.6543, "corr")))).splitlines()
    assert "corr ↑" in lines[1]
    assert "0.654 [-0.346, 1.654]" in lines[-1]


@pytest.mark.parametrize(
    "metric", ["wer", "cer", "eer", "accuracy", "acc2", "acc2_non0", "acc5", "acc7", "f1", "f1_non0"]
)
def test_what_is_in_percent_differs_by_points(metric):
    assert is_rate(metric) and is_rate(f"{metric} - fbank")
    assert not is_rate("corr") and not is_rate("mae - fbank")


def test_rows_of_other_features_are_other_rows(results):
    """And no seeds of the first."""
    path = results(entry(value=50.0), entry(value=60.0, features="mel80"))
    lines = terminal(read_results(path)).splitlines()[4:]
    assert [line.split(maxsplit=2) for line in lines] == [
        ["fbank", "fbank80", "50.0 [49.0, 51.0]"],
        ["fbank", "mel80", "60.0 [59.0, 61.0]"],
    ]


def test_values_are_drawn_within_their_intervals_controls_below(results):
    """And hollow; features stand beside the names where there are several."""
    untrained = entry(upstream="apc_untrained", value=40.0, ci95=[38.0, 41.0])
    apc = entry(upstream="apc", value=60.0, ci95=[59.0, 63.0])
    axis = intervals.draw(read_results(results(untrained, apc))).axes[0]
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.get_lines()]
    assert lines == [([59, 63], [0, 0]), ([60], [0]), ([38, 41], [1, 1]), ([40], [1])]
    fills = [line.get_markerfacecolor() for line in axis.get_lines()]
    assert (fills[1], fills[3]) == (style.COLOURS[0], "white")
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["apc", "apc_untrained"]
    bottom, top = axis.get_ylim()
    assert bottom > top  # the first row is above
    axis = intervals.draw(read_results(results(apc, entry(features="mel80")))).axes[0]
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["apc (fbank80)", "fbank (mel80)"]


def test_differing_counts_are_told(results):
    assert "n = 60-66" in terminal(read_results(results(entry(), entry(upstream="apc", n=60))))


@pytest.mark.parametrize(
    ("upstream", "control"),
    [
        ("fbank", False),
        ("apc", False),
        ("fbank_ctx4", True),
        ("apc_untrained", True),
        ("apc_untrained_layer1", True),
        ("apc_untrained_layers", True),
        ("apc_untrained_average", True),
        ("majority", True),
        ("apc_layers", False),
        ("apc_average", False),
        ("majority_x", False),
        ("untrained_x", False),
    ],
)
def test_controls(upstream, control):
    assert is_control(upstream) == control


def test_seeds_are_one_row_of_means_with_their_spread(results):
    path = results(
        entry(value=50.0),
        entry(upstream="apc", value=60.0, ci95=[58.0, 62.0]),
        entry(upstream="apc", value=64.0, ci95=[63.0, 65.0], seed=2),
        entry(upstream="apc", value=2.0, ci95=[1.0, 4.0], metric="accuracy - fbank"),
    )
    lines = terminal(read_results(path)).splitlines()
    assert lines[1].split("  ")[-1].strip() == "accuracy - fbank points ↑"
    assert [line.split(maxsplit=2)[2] for line in lines[4:]] == [
        "50.0 [49.0, 51.0]       -",
        "62.0 ±2.8 [60.5, 63.5]  2.0 [1.0, 4.0]",
    ]
    text = markdown(read_results(path), {})
    assert "± the standard deviation over 2 seeds" in text and "Differences (accuracy - name)" in text
    assert "±" not in markdown(read_results(results(entry())), {})


def test_a_papers_figure_stands_beside_ours_only_where_the_protocol_is_its_own(results, tmp_path):
    rows = [entry("sentiment", name, 66, "acc2", set="mockingjay_test") for name in ("fbank", "apc", "mine")]
    text = markdown(read_results(results(*rows)), {})
    assert "| acc2 <br> Liu et al., Mockingjay, ICASSP 2020 |" in text.replace("sentiment <br> ", "")
    for row in (
        "| fbank | fbank80 | 66.0 [65.0, 67.0] | 64.63 |",
        "| 65.97 |",
        "| mine | fbank80 | 66.0 [65.0, 67.0] | - |",
    ):
        assert row in text
    text = markdown(read_results(results(*(row | {"set": "test"} for row in rows))), {})
    assert "64.63" not in text and "sentiment: no: other clips" in text
    config = {"classes": "72", "hidden_layers": 2}
    write_model(
        tmp_path / "phone_apc", {}, {"config": config, "features_path": "dump/ls/apc/train_clean_360.h5"}
    )
    row = entry(upstream="apc", set="test_clean", checkpoint=str(tmp_path / "phone_apc/model.safetensors"))
    assert "74.1 (sum)" in markdown(read_results(results(row)), {})
    assert "74.1" not in markdown(read_results(results(row | {"checkpoint": "gone/model.safetensors"})), {})


def test_controls_are_explained_where_there_are_some(results):
    for upstream, there in (("apc", False), ("apc_untrained", True)):
        assert ("Controls show" in markdown(read_results(results(entry(upstream=upstream))), {})) == there


def test_markdown_tells_how_it_was_made(results):
    text = markdown(read_results(results(entry())), {"command": "`run.sh | tee x`", "seed": 1})
    assert "- command: `run.sh \\| tee x`\n- seed: 1\n" in text
    assert "| fbank | fbank80 | 50.0 [49.0, 51.0] |" in text
    assert "| representation | features | phone <br> accuracy %↑ <br> mini_test, n = 66 |\n| --- |" in text


def test_command_joins_experiments_and_leaves_metrics_out(results, tmp_path, capsys):
    first = results(entry()).rename(tmp_path / "first.json")
    third = results(entry(value=2.0, metric="accuracy - fbank")).rename(tmp_path / "third.json")
    second = results(entry("asr", value=9.0, metric="wer"), entry("asr", value=8.0, metric="cer"))
    report.main(["--results", str(first), str(second), str(third), "--metrics", "accuracy wer"])
    told = capsys.readouterr().out
    assert "accuracy" in told and "wer" in told and "cer" not in told
    assert "accuracy - fbank points" in told  # a difference goes with what differs


def test_only_what_is_named_is_shown(results, tmp_path, capsys, caplog):
    path = str(results(entry(), entry(upstream="apc"), entry("asr", "apc", metric="wer")))
    with caplog.at_level("INFO"):
        report.main(["--results", path, "--only", "phone/apc/mini_test", "asr/apc/mini_test"])
    told = capsys.readouterr().out
    assert "apc" in told and "wer" in told and not re.search(r"^fbank ", told, re.MULTILINE)
    assert "not shown: phone/fbank/mini_test (" in caplog.text
    with pytest.raises(InputError, match=r"no result of phone/apc/dev"):
        report.main(["--results", path, "--only", "phone/apc/dev"])


def test_command(results, tmp_path, capsys):
    out = tmp_path / "RESULTS.md"
    path = results(entry(), entry(upstream="apc", seed=2), entry(upstream="apc", seed=3))
    report.main(["--results", str(path), "--out", str(out), "--made-by", "run.sh --tag x"])
    assert "fbank80   50.0" in capsys.readouterr().out
    text = out.read_text()
    for line in (
        "- date: 2026-01-02",
        "- command: `run.sh --tag x`",
        "- commit: abc",
        "- seed: 1, 2, 3",
        "- machine: ",
    ):
        assert line in text


def test_test_sets_stand_as_they_were_asked_for(results, capsys):
    """And not as they were scored, by this command or others before."""
    path = results(entry(set="c"), entry(set="a"), entry(upstream="apc", set="b"), entry(set="b"))
    report.main(["--results", str(path), "--order", "fbank apc phone a b"])
    assert capsys.readouterr().out.splitlines()[2].split()[::4] == ["a,", "b,", "c,"]


def test_the_page_is_made_of_the_same_results_in_the_same_order(results, tmp_path, monkeypatch):
    path = results(entry(), entry(upstream="apc", created="2026-05-06T07:08:09+00:00"), entry(upstream="b"))
    seen = []
    monkeypatch.setattr(html, "report", lambda *words: seen.append(words) or "<html>")
    names = ["phone/fbank/mini_test", "phone/apc/mini_test"]
    only = [*names, "phone/apc/mini_test@0.1#2"]
    report.main(["--results", str(path), "--html", str(tmp_path / "page.html"), "--reused", "exp/other/b",
                 "--order", "apc fbank phone", "--only", *only])  # fmt: skip
    ((folder, shown, about, *rest),) = seen
    assert (tmp_path / "page.html").read_text() == "<html>"
    assert folder == tmp_path and [result.name for result in shown] == names[::-1]
    assert about["date"] == "2026-05-06T07:08:09+00:00"  # of the latest
    assert rest == [["apc", "fbank", "phone"], ["exp/other/b"], only]


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ([{"task": "phone"}], "result 1: the key 'upstream' is missing"),
        ([entry(), entry() | {"value": "50"}], "result 2: value is '50', want float"),
        ([entry(ci95=[1.0])], "result 1: ci95 is [1.0], want [low, high]"),
        ([entry(better="more")], "better is 'more', want one of ['higher', 'lower']"),
        ([entry() | {"note": 1}], "unknown key 'note'"),
        (["x"], "want an object"),
    ],
)
def test_what_is_no_result_is_refused_by_its_place(results, entries, told):
    with pytest.raises(InputError) as error:
        read_results(results(*entries))
    assert told in str(error.value)
    assert "results.json" in str(error.value)


def test_no_results_at_all(results, tmp_path):
    with pytest.raises(InputError, match="holds no result"):
        report.main(["--results", str(results())])
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(InputError, match="want a list"):
        report.main(["--results", str(tmp_path / "results.json")])


def test_no_sign_on_a_zero_and_bars_stay_in_their_cells(results):
    rows = [entry(upstream="a|b", value=-0.04, ci95=[-0.2, 0.04])]
    assert "-0.0 " not in terminal(read_results(results(*rows)))
    assert "| a\\|b | fbank80 | 0.0 [-0.2, 0.0] |" in markdown(read_results(results(*rows)), {})

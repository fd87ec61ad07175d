"""The report: everything in one file, nothing from data comes alive, what is missing is told."""

import html.parser
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from speechrep import provenance
from speechrep.bin import report as report_command
from speechrep.config import add_options, from_options, make_parser, to_dict
from speechrep.downstream.registry import TASKS
from speechrep.errors import InputError
from speechrep.io.model_files import write_model
from speechrep.io.store import StoreWriter
from speechrep.report import html as html_report
from speechrep.report import mistakes, page, paper, runs
from speechrep.score.results import KEYS
from speechrep.train.config import TrainConfig
from speechrep.upstream.checkpoint import save_model
from tests.unit.models import model as small_model

EGS = Path(__file__).parents[2] / "egs"
EVIL = "<script>document.title='gotcha'</script>"
VOID = {"meta", "img"}
WIDTHS = (1200, 700, 390)  # of a desktop, a narrow window, a telephone; pixels
LOG = """# python -m speechrep.bin.pretrain --config '&lt;b&gt;.yaml'
# Started at Sun Nov 22 21:25:{second:02d} UTC 2026
#
{noise}
# Accounting: time={seconds} threads=1
# Ended (code {code}) at Sun Nov 22 21:26:00 UTC 2026, elapsed time {seconds} seconds
"""


class Elements(html.parser.HTMLParser):
    """Checks that every tag is closed by its own, and collects tags and text."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def entry(task: str, upstream: str, value: float, **changes) -> dict:
    values = {
        "task": task, "upstream": upstream, "features": "fbank80", "set": "test", "metric": "accuracy",
        "value": value, "ci95": [value - 1, value + 1], "n": 6, "better": "higher", "checkpoint": "x",
        "seed": 1, "commit": "c0ffee", "created": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    assert set(values) == set(KEYS)
    return values | changes


@pytest.fixture
def exp(tmp_path):
    return make_experiment(tmp_path)


def make_experiment(tmp_path):
    """An experiment with some of everything."""
    folder = tmp_path / "exp"
    model = small_model("mockingjay")
    with StoreWriter(tmp_path / "dev.h5", model.meta, ["u1"], [90]) as store:
        store.write("u1", np.random.default_rng(0).normal(size=(90, 6)).astype(np.float32))
    save_model(folder / "mockingjay", model)
    save_model(folder / "mockingjay_untrained", model)
    save_model(folder / "fbank", small_model("surface"))
    save_model(folder / "apc.old", small_model("apc"))
    (folder / "mockingjay/config.yaml").write_text(f"valid-dir: {tmp_path / 'dev.h5'}\nnote: {EVIL}\n")
    lines = [{"part": "valid", "step": step, "loss": 1.0 / (1 + step)} for step in (0, 10)]
    (folder / "mockingjay/train_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for task in ("phone", "asr"):
        weights = {"layer_weights": np.zeros(3, np.float32)} if task == "asr" else {"w": np.zeros(1)}
        write_model(folder / f"{task}_mockingjay", weights, {"kind": "downstream", "task": task})
        (folder / f"{task}_mockingjay/decode_test").mkdir()
    decoded = folder / "phone_mockingjay/decode_test"
    (decoded / "ref").write_text("u1 AA AA S - S\nu2 T T\n")
    (decoded / "hyp").write_text("u1 AA AE S S S\nu2 T D\n")
    decoded = folder / "asr_mockingjay/decode_test"
    (decoded / "ref").write_text(f"u1 GOOD MORNING\nu2 {EVIL} A B\n<img/src=x> NO NO\n")
    (decoded / "hyp").write_text('u1 GOOD MORNING\nu2 A "&quot; B C\n<img/src=x> NO\n')
    (folder / "logs").mkdir()
    for name, seconds, code in (("2_mockingjay", 61, 0), ("2_fbank", 4, 0), ("4_phone_mockingjay", 9, 1)):
        text = LOG.format(
            seconds=seconds, code=code, second=seconds % 60, noise="# Accounting: time=999\n" * 2
        )
        (folder / f"logs/{name}.log").write_text(text)
    results = [
        *(entry("speaker", "fbank", 100, set=f"a_set_with_a_long_name_{i}") for i in range(6)),
        entry("phone", "mockingjay", 61.25), entry("phone", "mockingjay_untrained", 50),
        entry("asr", "mockingjay", 30, metric="wer", better="lower", set=f"a{EVIL}b"),
    ]  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "label_share").mkdir()
    (folder / "label_share/0.1.json").write_text(json.dumps([entry("phone", "mockingjay", 40)]))
    return folder


def written(exp, *more) -> str:
    path = exp / "report.html"
    report_command.main(
        ["--results", str(exp / "results.json"), "--html", str(path), "--made-by", f"run.sh {EVIL}",
         "--order", "fbank mockingjay phone asr", *more]
    )  # fmt: skip
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> str:
    return written(make_experiment(tmp_path_factory.mktemp("report")))


def test_one_file_that_fetches_nothing_and_runs_nothing(text):
    tags = Elements(text).tags
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "form", "base"}
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    assert "default-src 'none'" in text
    images = [attributes for tag, attributes in tags if tag == "img"]
    # results, the curve, the reconstruction, the layers, the confusions
    assert len(images) == 6 and all(attributes["alt"] for attributes in images)


def test_data_is_shown_as_it_is(text):
    shown = "".join(Elements(text).words)
    assert EVIL not in text
    assert shown.count(EVIL) >= 4  # command, set, configuration, a reference
    assert '"&quot;' in shown and "<img/src=x>: 1 errors in 2 words" in shown


def test_the_pages_links_lead_to_its_sections(text):
    tags = Elements(text).tags
    names = [attributes["id"] for tag, attributes in tags if tag == "h2"]
    links = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert links == [f"#{name}" for name in names] and len(links) == len(html_report.SECTIONS)


def test_controls_alone_are_grey(text):
    rows = re.findall(r'<tr class="dim"><td>(.*?)</td>', text)
    assert rows == ["mockingjay_untrained (control)"]


def test_where_weights_come_from(text, exp):
    info = json.loads((exp / "mockingjay/model.json").read_text())
    told = f"weights {info['weights_sha256'][:16]}, made "
    assert told in text and f", commit {info['commit']}<" in text


def test_everything_is_there(text):
    shown = re.sub(r"\s+", " ", " ".join(Elements(text).words))
    for heading in ("Results", "Fewer labels", "Published figures", "Training", "Reconstructions", "Layers",
                    "Phones", "Worst utterances", "Configuration", "Commands and times",
                    "Versions"):  # fmt: skip
        assert heading in shown
    assert "61.2 [60.2, 62.2]" in shown or "61.3 [60.2, 62.3]" in shown
    assert "mockingjay_untrained (control)" in shown
    assert "phone, test: mean and spread over draws" in shown
    assert "lowest validation loss 0.0909 at step 10" in shown
    assert "no: other labels and sets" in shown and "No published figures are known here for: asr" in shown
    assert "AA as AE" in shown and "T as D" in shown and " 50 " in shown
    assert "2 pre-training 2 65 mockingjay, 61 s" in shown
    assert "phone_mockingjay not ended" in shown
    assert "1 features none here - - 2 pre-training" in shown  # by an experiment before
    assert "apc.old" not in shown
    assert "not drawn" not in shown and "Not shown" not in shown


def test_worst_utterances_are_aligned(exp):
    decoded = exp / "asr_mockingjay/decode_test"
    worst = mistakes.worst_utterances(decoded / "ref", decoded / "hyp", 5)
    assert [(wrong.utt_id, wrong.errors, wrong.ref_units) for wrong in worst] == [
        ("u2", 3, 3), ("<img/src=x>", 1, 2),
    ]  # fmt: skip
    assert [[ref, hyp] for ref, hyp in worst[1].pairs] in (
        [["NO", None], ["NO", "NO"]],
        [["NO", "NO"], ["NO", None]],
    )


def test_what_was_left_out_and_put_in_is_marked_so():
    pairs = [("A", "A"), ("B", None), (None, "C"), ("D", "E")]
    shown = html_report._aligned(mistakes.WrongUtterance("u", 3, 3, pairs))
    found = re.findall(r'<span class="(\w*)"><b>(.)</b><i>(.)</i>', shown)
    assert found[1:] == [("D", "B", "·"), ("I", "·", "C"), ("S", "D", "E")]
    assert found[0][1:] == ("A", "A") and found[0][0] not in "SDI"


def test_the_worst_of_equals_are_the_longest(tmp_path):
    (tmp_path / "ref").write_text("a X\nb X Y\nc X Y Z Z\nd X\n")
    (tmp_path / "hyp").write_text("a -\nb - -\nc - Y Z Z\nd X\n")
    worst = mistakes.worst_utterances(tmp_path / "ref", tmp_path / "hyp", 2)
    assert [wrong.utt_id for wrong in worst] == ["b", "a"]


def test_confusions_are_drawn_in_percent_of_what_was_said():
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 6]])
    axis = mistakes.draw_confusion(mistakes.Confusion(["AA", "AE", "D"], counts), "x").axes[0]
    shown = axis.get_images()[0].get_array().filled(np.nan)
    np.testing.assert_array_equal(shown, [[75, 25, 0], [np.nan] * 3, [25, 0, 75]])
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("heard", "said")
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["AA", "AE", "D"]


def test_confusions(exp):
    decoded = exp / "phone_mockingjay/decode_test"
    counted = mistakes.confusion(decoded / "ref", decoded / "hyp")
    assert counted.labels == ["AE", "AA", "D", "T", "S"]
    said = {label: dict(zip(counted.labels, row.tolist(), strict=True))
            for label, row in zip(counted.labels, counted.counts, strict=True)}  # fmt: skip
    assert said["AA"] == {"AE": 1, "AA": 1, "D": 0, "T": 0, "S": 0}
    assert said["S"]["S"] == 2  # the third S has no label in the reference
    assert mistakes.most_confused(counted, 9) == [("AA", "AE", 1, 50.0), ("T", "D", 1, 50.0)]
    assert mistakes.most_confused(counted, 1) == [("AA", "AE", 1, 50.0)]


def test_what_is_missing_is_told(exp, tmp_path, capsys):
    shutil.rmtree(exp / "logs")
    (tmp_path / "dev.h5").unlink()
    for name in ("phone_mockingjay", "asr_mockingjay"):
        shutil.copytree(exp / name / "decode_test", exp / name / "decode_other")  # one is left
        (exp / name / "decode_other/hyp").write_text("u1 AA\n")
    shown = " ".join(Elements(written(exp)).words)
    assert "No logs in" in shown
    assert "mockingjay: its pre-training task" in shown and "not drawn" in shown and "dev.h5" in shown
    assert shown.count("Not shown:") == 2 and "u1: 1 labels, but 5" in shown
    assert "AA as AE" in shown and "1 errors in 2 words" in shown
    assert "61.2" in shown  # and the rest is there


def section_of(exp, name, monkeypatch) -> str:
    """The text of a page that has this section alone."""
    monkeypatch.setattr(html_report, "SECTIONS", {name: html_report.SECTIONS[name]})
    return " ".join(Elements(written(exp)).words)


def test_a_task_of_which_the_table_has_nothing_is_not_shown(exp, monkeypatch):
    shutil.copytree(exp / "asr_mockingjay", exp / "asr_apc")
    shown = section_of(exp, "Configuration", monkeypatch)
    assert "asr_mockingjay" in shown and "asr_apc" not in shown


def test_logs_without_a_curve_are_told_of(exp, monkeypatch):
    """One that is damaged, and one of a validation alone."""
    (exp / "mockingjay/train_log.jsonl").write_text("{\n")
    (exp / "fbank/train_log.jsonl").write_text('{"part": "valid", "step": 0, "loss": 1.0}\n')
    shown = section_of(exp, "Training", monkeypatch)
    assert re.search(r"Not shown: \S*mockingjay/train_log\.jsonl:1: ", shown)
    assert "No model was trained step by step" in shown
    (still,) = re.findall(r"Without steps \(.*?\): ([\w, ]+)\.", shown)
    assert "fbank" in still.split(", ") and "mockingjay" not in still.split(", ")


def test_models_are_in_the_order_of_the_table(exp):
    names = ["mockingjay", "fbank", "phone", "asr"]
    assert [run.name for run in runs.read_runs(exp, names)] == [
        "mockingjay", "fbank", "mockingjay_untrained", "phone_mockingjay", "asr_mockingjay",
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["{", "[]"])
def test_one_damaged_model_does_not_stop_the_report(exp, content):
    (exp / "phone_apc").mkdir()
    (exp / "phone_apc/model.json").write_text(content)
    (exp / "logs/5_score.log").mkdir()
    shown = " ".join(Elements(written(exp)).words)
    assert "Not shown: " in shown and "phone_apc/model.json" in shown
    assert "mockingjay: its pre-training task" in shown and "AA as AE" in shown


def test_names_are_no_mathematics(exp):
    decoded = exp / "phone_mockingjay/decode_te$t_{$"
    decoded.mkdir()
    (decoded / "ref").write_text("u1 a $x$ $\\frac$\n")
    (decoded / "hyp").write_text("u1 a $x$ $\\frac$\n")
    results = json.loads((exp / "results.json").read_text())
    (exp / "results.json").write_text(json.dumps([one | {"set": "te$t_{$"} for one in results[-3:]]))
    assert "not drawn" not in written(exp)


def test_many_classes_are_drawn_as_far_as_they_can_be_read():
    count = mistakes.MOST_DRAWN + 9
    counts = np.diag(np.arange(count))
    drawn = mistakes.draw_confusion(mistakes.Confusion([f"c{i}" for i in range(count)], counts), "x")
    shown = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert shown == [f"c{i}" for i in range(9, count)]
    assert drawn._suptitle.get_text() == f"x: the {count - 9} most frequent of {count}"


def test_the_machine_is_where_the_models_were_trained(exp, tmp_path):
    results = json.loads((exp / "results.json").read_text())
    for place, name in enumerate(("mockingjay", "fbank")):
        info = json.loads((exp / name / "model.json").read_text())
        assert info["machine"] == provenance.machine()
        (exp / name / "model.json").write_text(json.dumps(info | {"machine": f"{name}'s"}))
        results[place] |= {"checkpoint": f"exp/{name}/model.safetensors"}
    (exp / "results.json").write_text(json.dumps(results))
    assert "fbank's; mockingjay's" in " ".join(Elements(written(exp)).words)


def test_a_path_is_looked_for_from_the_recipes_folder_whatever_the_working_directory(
    exp, tmp_path, monkeypatch
):
    (exp / "x").mkdir()
    monkeypatch.chdir(exp / "x")
    assert runs.found_above("../results.json", "exp/mockingjay") == str(exp / "mockingjay")
    assert runs.found_above(exp / "results.json", "exp/mockingjay") == str(exp / "mockingjay")
    assert runs.found_above(exp / "results.json", "exp/gone") == "exp/gone"
    long = "a folder/" + "whose name has blanks and is long/" * 3
    (exp / long).mkdir(parents=True)
    (exp / "mockingjay/config.yaml").write_text(yaml.safe_dump({"note": 1, "valid-dir": f"exp/{long}"}))
    run = next(run for run in runs.read_runs(exp) if run.name == "mockingjay")
    assert runs.path_option(run, "valid-dir") == str(exp / long)


def test_upstreams_of_another_experiment_are_shown_as_such(exp, tmp_path):
    """Also where its paths count from another recipe's folder; what this one made before is not used."""
    other = tmp_path / "egs/exp/other/mockingjay"
    shutil.copytree(exp / "mockingjay", other)
    (tmp_path / "egs/dump").mkdir()
    (tmp_path / "dev.h5").rename(tmp_path / "egs/dump/dev.h5")
    (other / "config.yaml").write_text("valid-dir: dump/dev.h5\n")
    text = written(exp, "--reused", str(other))
    shown = " ".join(Elements(text).words)
    name = "mockingjay (reused from other)"
    assert f"{name}, lowest validation loss 0.0909 at step 10" in shown
    assert f"{name}: its pre-training task" in shown and "not drawn" not in shown
    assert "mockingjay, lowest" not in shown and "mockingjay: its" not in shown


def test_shares_of_other_runs_are_not_drawn(exp):
    shown = " ".join(Elements(written(exp, "--only", "phone/mockingjay/test")).words)
    assert "Trained on all labels only" in shown
    both = ("phone/mockingjay/test", "phone/mockingjay/test@0.1#1")
    shown = " ".join(Elements(written(exp, "--only", *both)).words)
    assert "Trained on all labels only" not in shown and "spread over draws" in shown


def test_only_results(tmp_path, capsys):
    (tmp_path / "results.json").write_text(json.dumps([entry("sentiment", "majority", 60, metric="acc2")]))
    shown = " ".join(Elements(written(tmp_path)).words)
    assert "No model was trained step by step" in shown and "no: other clips" in shown


def test_the_table_needs_neither_torch_nor_matplotlib(exp):
    code = (
        "import sys; from speechrep.bin import report; "
        f"report.main(['--results', {str(exp / 'results.json')!r}, '--out', {str(exp / 'R.md')!r}]); "
        "sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
    assert (exp / "R.md").exists()


def test_only_the_papers_own_split_is_comparable():
    assert paper.comparable("sentiment", ["mockingjay_test"]).startswith("yes")
    for task, name in (
        ("sentiment", "test"),
        ("sentiment", "mini_mockingjay_test"),
        ("speaker", "x"),
        ("phone", "x"),
    ):
        assert paper.comparable(task, [name]).startswith("no")


def models_with(tmp_path, *configs):
    """A checkpoint of each of these configurations, and one that is gone."""
    for number, config in enumerate(configs):
        (tmp_path / str(number)).mkdir()
        info = {"config": config, "features_path": "dump/x/train_clean_360.h5"}
        write_model(tmp_path / str(number), {"x": np.zeros(1, np.float32)}, info)
    return [str(tmp_path / name / "model.safetensors") for name in (*map(str, range(len(configs))), "gone")]


def test_a_column_is_comparable_if_all_its_models_are_the_papers(tmp_path):
    configs = ({"classes": classes, "hidden_layers": 2} for classes in ("72", "39"))
    papers, other, gone = models_with(tmp_path, *configs)
    assert paper.comparable("phone", ["test_clean"], [papers, gone]).startswith("yes")
    told = paper.comparable("phone", ["test_clean", "test_other"], [papers, gone])  # two columns of a table
    assert told.startswith("yes") and ", test_clean alone: the same sets" in told
    assert paper.comparable("phone", ["test_other"], [papers, gone]).startswith("no")
    for checkpoints in ([papers, other], [gone], []):
        assert paper.comparable("phone", ["test_clean"], checkpoints).startswith("no")


def test_the_papers_clips_are_comparable_only_with_its_classifier(tmp_path):
    papers = {"mode": "binary", "join": "first", "pooling": "last"}
    others = ({"mode": "regression"}, {"join": "mean"}, {"pooling": "mean"})
    ours, *rest, gone = models_with(tmp_path, papers, *(papers | other for other in others))
    clips = ["mockingjay_test"]
    for checkpoints in ([ours], [ours, gone], [gone]):  # what is gone tells nothing
        assert paper.comparable("sentiment", clips, checkpoints).startswith("yes")
    for other in rest:
        assert "another classifier" in paper.comparable("sentiment", clips, [ours, other])
    assert paper.comparable("sentiment", [*clips, "test"], [ours]).startswith("no: other clips")


def test_other_speakers_or_training_data_are_not_the_papers(tmp_path):
    speaker = {"model": "gru", "min_utts": 122}
    ours, fewer, gone = models_with(tmp_path, speaker, speaker | {"min_utts": 100})
    sets = ["train_clean_100:test"]
    assert paper.comparable("speaker", sets, [ours]).startswith("yes")
    for checkpoints in ([ours, fewer], [gone], []):
        assert paper.comparable("speaker", sets, checkpoints).startswith("no")
    info = {"config": {"classes": "72", "hidden_layers": 2}, "features_path": "dump/x/train_clean_100.h5"}
    write_model(tmp_path / "small", {}, info)
    assert paper.comparable("phone", ["test_clean"], [f"{tmp_path}/small/model.safetensors"]).startswith("no")


def test_each_row_has_the_papers_figure_of_its_kind():
    """Table 2 of the paper."""
    rows = {"fbank": "70.06", "apc": "85.88", "mockingjay": "94.54", "mockingjay_large": "96.26",
            "mockingjay_large_layers": "96.40", "mockingjay_finetune": "98.05", "mockingjay_layers": "",
            "apc_finetune": "", "other": ""}  # fmt: skip
    assert {row: paper.figure("speaker", "accuracy", row) for row in rows} == rows
    assert paper.figure("speaker", "f1", "apc") == paper.figure("asr", "wer", "apc") == ""


SETS_OF_THE_PAPER = {"phone": "test_clean", "speaker": "train_clean_100:test", "sentiment": "mockingjay_test"}


@pytest.mark.parametrize("task", SETS_OF_THE_PAPER)
def test_the_recipes_configurations_of_the_paper_are_the_papers(tmp_path, task):
    """Each kind of row too: with conf/phone_layers.yaml in one row, the whole column would not be."""
    paths = sorted(EGS.glob(f"*/conf/mockingjay/{task}*.yaml"))
    assert {path.stem for path in paths} >= {task, f"{task}_finetune"}
    ours = models_with(tmp_path, *(options_of(task, path) for path in paths))
    assert paper.comparable(task, [SETS_OF_THE_PAPER[task]], ours).startswith("yes")
    usual = options_of(task, next(EGS.glob(f"*/conf/{task}_finetune.yaml")))
    (tmp_path / "usual").mkdir()
    others = models_with(tmp_path / "usual", usual)
    assert paper.comparable(task, [SETS_OF_THE_PAPER[task]], [*ours, *others]).startswith("no")
    (tmp_path / "few").mkdir()
    few = models_with(tmp_path / "few", options_of(task, paths[0]) | {"train_proportion": 0.1})
    assert paper.comparable(task, [SETS_OF_THE_PAPER[task]], [*ours, *few]).endswith("part of the labels")


def options_of(task, path):
    """A configuration as model.json has it."""
    parser = make_parser("")
    for options in (TrainConfig, TASKS[task].config):
        add_options(parser, options)
    args = parser.parse_args(["--config", str(path), "--pretrained", "x"])
    return to_dict(from_options(TASKS[task].config, args))


def test_steps_in_the_order_they_began(exp):
    steps = runs.read_steps(exp / "logs")
    assert [(step.stage, step.name, step.seconds) for step in steps] == [
        (2, "mockingjay", 61), (2, "fbank", 4), (4, "phone_mockingjay", None),
    ]  # fmt: skip
    assert steps[0].command.startswith("python -m speechrep.bin.pretrain")


def test_steps_of_a_cluster_of_kaldis_are_read_too(tmp_path):
    log = "# true\n# Started at Sun Nov 22 21:25:01 UTC 2026\n#\n# Accounting: begin_time=1 time=7\n"
    for name, status in (("1_a", 0), ("1_b", 3)):
        end = f"# Finished at Sun Nov 22 21:25:09 UTC 2026 with status {status}\n"
        (tmp_path / f"{name}.log").write_text(log + end)
    assert [step.seconds for step in runs.read_steps(tmp_path)] == [7, None]


def test_steps_of_several_days_are_in_the_order_of_the_calendar(tmp_path):
    """And those of which no time is told come last."""
    days = {"c": "Sun Nov  1 09:00:00 UTC 2026", "b": "Tue Oct 27 21:00:00 UTC 2026", "a": "noon",
            "d": "Thu Jan  1 00:00:00 UTC 2027"}  # fmt: skip
    for name, began in days.items():
        (tmp_path / f"2_{name}.log").write_text(f"# true\n# Started at {began}\n")
    assert [step.name for step in runs.read_steps(tmp_path)] == ["b", "c", "d", "a"]


def test_a_path_is_the_one_that_is_nearest(tmp_path):
    for folder in (tmp_path, tmp_path / "egs"):
        (folder / "exp/apc").mkdir(parents=True)
    wanted = str(tmp_path / "egs/exp/apc")
    assert runs.found_above(tmp_path / "egs/exp/demo/results.json", "exp/apc") == wanted


@pytest.mark.parametrize("zone", ["UTC", "-03", "+0545", "ChST"])
def test_times_of_any_zone_are_in_order(exp, zone):
    for path in (exp / "logs").iterdir():
        path.write_text(path.read_text().replace(" UTC ", f" {zone} "))
    assert [step.name for step in runs.read_steps(exp / "logs")][:2] == ["mockingjay", "fbank"]


def test_escaping_is_done_once():
    assert page.element("b", page.escape("a<b"), title='"') == '<b title="&quot;">a&lt;b</b>'
    row = page.table(["x", "y\nz"], [["1", EVIL]])
    assert 'data-label="y, z"' in row and EVIL not in row


def test_a_browser_shows_it(text, tmp_path):
    """As wide as a desktop and a telephone: nothing sticks out, nothing ran, nothing was complained of."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium to look at the report with; tools/install_chromium.sh installs it")
    probe = tmp_path / "probe.html"
    frames = "".join(
        f'<iframe src="report.html" style="width:{width}px;height:900px;border:0"></iframe>'
        for width in WIDTHS
    )
    # Told by the parent page, since the report itself runs no script.
    (tmp_path / "report.html").write_text(text, encoding="utf-8")
    probe.write_text(
        "<!doctype html><body>" + frames + "<pre></pre><script>onload = () => {"
        "const frames = [...document.querySelectorAll('iframe')];"
        "document.querySelector('pre').textContent = JSON.stringify(frames.map(f => {"
        "const d = f.contentDocument, root = d.documentElement;"
        "return [d.title, root.scrollWidth, root.clientWidth, d.images.length, d.scripts.length];"
        "})) }</script>"
    )
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
               "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"]  # fmt: skip
    done = subprocess.run(
        [chromium, *options, "--dump-dom", probe.as_uri()], capture_output=True, text=True, timeout=300
    )
    told = json.loads(re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)[1])
    assert [row[0] for row in told] == ["Experiment exp"] * len(WIDTHS)
    for _, needed, given, pictures, scripts in told:
        assert needed <= given and pictures == 6 and scripts == 0
    assert [row[2] for row in told] == list(WIDTHS)
    assert "CONSOLE" not in done.stderr, done.stderr


def test_two_experiments_are_no_two_seeds(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        one = entry("phone", "apc", 50) | {"checkpoint": f"{name}/model.safetensors"}
        (tmp_path / name / "results.json").write_text(json.dumps([one]))
    files = [str(tmp_path / name / "results.json") for name in ("a", "b")]
    told = r"a/model\.safetensors and b/model\.safetensors: two results of phone/apc/test, accuracy, seed 1"
    with pytest.raises(InputError, match=told):
        report_command.main(["--results", *files])

"""egs/mosei as users run it, on a generated miniature of a few clips."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from speechrep.io.feature_meta import read_meta
from speechrep.io.store import Store
from speechrep.io.table import read_table
from speechrep.upstream.apc import ApcConfig
from speechrep.upstream.checkpoint import load, save_model
from speechrep.upstream.registry import build

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "egs/mosei/run.sh"
METRICS = {"acc2", "f1", "acc2_non0", "f1_non0", "acc5", "acc7", "mae", "corr"}
ENVIRONMENT = os.environ | {
    "VIRTUAL_ENV": sys.prefix,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess:
    folders = ["--expdir", "exp", "--dumpdir", "dump", "--datadir", "data"]
    confs = ["--confdir", str(REPOSITORY / "tests/recipe/conf"), "--upstreams", "fbank apc", "--nj", "2"]
    return subprocess.run(
        [RECIPE, *folders, *confs, *words], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip


def results(folder: Path, tag: str = "demo") -> dict[tuple[str, str], dict]:
    entries = json.loads((folder / "exp" / tag / "results.json").read_text())
    return {(entry["upstream"], entry["metric"]): entry for entry in entries}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run on the miniature, which lies in ``corpus``."""
    folder = tmp_path_factory.mktemp("mosei")
    done = run(folder, "--corpus-dir", "corpus")
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    return folder


def test_a_dry_run_foresees_every_stage(tmp_path):
    done = run(tmp_path, "--corpus-dir", "corpus", "--dry-run", "true")
    assert done.returncode == 0, done.stderr
    assert "mini_sets: would run" in done.stderr and "majority: would run" in done.stderr
    assert not list(tmp_path.iterdir())


def test_every_figure_of_every_row_is_there(finished):
    found = results(finished)
    rows = {"fbank", "apc", "fbank_ctx4", "apc_untrained"}
    undefined = {
        (row, "corr") for row in rows if (row, "corr") not in found
    }  # a model may say one thing only
    assert set(found) | undefined == {(row, m) for row in rows for m in METRICS} | {
        ("majority", m) for m in METRICS - {"corr"}
    }
    for entry in found.values():
        assert (entry["task"], entry["set"], entry["features"]) == ("sentiment", "mini_test", "fbank80_video")
        assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
        assert entry["better"] == ("lower" if entry["metric"] == "mae" else "higher")
    assert "| majority (control) |" in (finished / "exp/demo/RESULTS.md").read_text()


def test_hazards_are_listed_and_did_no_harm(finished):
    text = (finished / "data/mini_hazards.tsv").read_text()
    for kind in ("missing_wav", "negative_start", "leading_hyphen", "unlabelled_video", "beyond_the_end"):
        assert f"\n{kind}\t" in text
    hyp = read_table(finished / "exp/demo/sentiment_apc/decode_mini_test/hyp")
    assert list(hyp) == list(read_table(finished / "data/mini_test/utt2sentiment"))


def test_a_second_run_does_nothing(finished):
    again = run(finished, "--corpus-dir", "corpus")
    assert again.returncode == 0, again.stderr
    assert ": runs: " not in again.stderr
    assert again.stdout == (finished / "stdout").read_text()


def test_models_of_another_experiment_bring_their_features(finished):
    words = ["--corpus-dir", "corpus", "--upstream-from", "exp/demo", "--controls", "false"]
    done = run(finished, *words)
    assert done.returncode == 0, done.stderr
    assert not (finished / "exp/demo_like_demo/apc").exists()  # none was trained
    theirs = read_meta(finished / "dump/fbank80_video/mini_test/features.json")
    ours = read_meta(finished / "dump/like_demo/mini_test/features.json")
    assert ours.acoustic() == theirs.acoustic()
    found, before = results(finished, "demo_like_demo"), results(finished)
    assert found["apc", "mae"]["value"] == before["apc", "mae"]["value"]  # same features, model and seed
    assert found["apc", "mae"]["features"] == "like_demo"
    page = (finished / "exp/demo_like_demo/report.html").read_text()
    assert "apc (reused from demo): its pre-training task" in page and "not drawn" not in page


def test_a_model_from_librispeech_is_given_features_as_of_librispeech(finished):
    default = read_meta(finished / "dump/fbank80_video/mini_test/features.json")
    theirs = dataclasses.replace(default, cmvn="utterance")
    assert default.cmvn == "speaker"
    save_model(finished / "ls100/apc", build("apc", ApcConfig(hidden_size=8, num_layers=1), theirs))
    words = ["--corpus-dir", "corpus", "--upstream-from", "ls100", "--stop-stage", "3", "--upstreams"]
    done = run(finished, *words, "apc mockingjay")
    assert done.returncode == 2
    assert "--upstream-from: there is no mockingjay in" in done.stderr
    done = run(finished, *words, "apc")
    assert done.returncode == 0, done.stderr
    ours = read_meta(finished / "dump/like_ls100/mini_test/features.json")
    assert ours.acoustic() == theirs.acoustic()
    assert Store(finished / "dump/demo_like_ls100/apc/mini_test.h5").meta.cmvn == "utterance"
    trained, control = (load(finished / exp) for exp in ("ls100/apc", "exp/demo_like_ls100/apc_untrained"))
    assert control.config == trained.config  # not that of conf/apc.yaml
    assert control.meta == trained.meta
    assert control.weights_sha256 != trained.weights_sha256


def test_features_follow_the_times_of_labels_and_no_other_file(finished):
    (finished / "corpus/notes.txt").write_text("heard some of it\n")
    words = ["--corpus-dir", "corpus", "--dry-run", "true", "--stage", "1"]
    assert "would run" not in run(finished, *words).stderr
    segments = finished / "data/mini_test/segments"
    before = segments.read_bytes()
    segments.write_bytes(before.replace(b".", b".1", 1))
    told = run(finished, *words).stderr
    segments.write_bytes(before)
    assert re.search(r" mini_test: would run: input \S*data/mini_test/segments changed", told), told


def test_ones_own_copy_of_the_corpus_and_the_papers_protocol(finished):
    words = ["--mosei-dir", "corpus", "--protocol", "mockingjay", "--stop-stage", "0"]
    done = run(finished, *words)
    # So few videos leave a part of the split without recordings; which is said, and by name.
    assert done.returncode == 1 and "no clip left in the" in done.stderr, (done.returncode, done.stderr)
    assert run(finished, "--mosei-dir", "corpus", "--stop-stage", "0").returncode == 0
    assert read_table(finished / "data/test/utt2sentiment") == read_table(
        finished / "data/mini_test/utt2sentiment"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--mosei-dir", "nowhere"], "--mosei-dir wants mini or the folder that holds Raw/; there is no"),
        (["--protocol", "paper"], "--protocol wants standard or mockingjay, not 'paper'"),
        (["--folds", "nowhere"], "--folds: there is no folder"),
        (["--folds", ".", "--protocol", "mockingjay"], "--folds: the protocol mockingjay has its own"),
        (["--upstream-from", "nowhere"], "--upstream-from: none of 'fbank apc' is in"),
        (["--upstream-from", "x", "--feature-config", "y"], "--upstream-from brings its features"),
        (["--feature-config", "none.yaml"], "--feature-config: there is no"),
        (["--tasks", "phone"], "unknown option --tasks"),
    ],
)
def test_bad_options_are_refused_before_anything_is_made(tmp_path, words, told):
    done = run(tmp_path, *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert not list(tmp_path.iterdir())

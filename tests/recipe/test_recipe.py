"""The recipe as users run it, from nothing to the table, on a corpus of a few utterances."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from speechrep.downstream.layer_sum import learned_weights
from speechrep.io.model_files import read_info
from speechrep.io.table import read_table, write_table

REPOSITORY = Path(__file__).parents[2]
RECIPE = REPOSITORY / "egs/librispeech/run.sh"
UPSTREAMS = ["fbank", "apc", "mockingjay"]
CONTROLS = ["fbank_ctx4", "apc_untrained", "mockingjay_untrained"]
ENVIRONMENT = os.environ | {
    "VIRTUAL_ENV": sys.prefix,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}


def command(*words: str) -> list[str]:
    # Paths are relative to where the recipe is called from.
    folders = ["--corpus-dir", "corpus", "--expdir", "exp", "--dumpdir", "dump", "--datadir", "data"]
    return [str(RECIPE), *folders, "--confdir", "conf", "--nj", "2", *words]


def run(folder: Path, *words: str, limit: int = 1200) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*words), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=limit
    )


def results(folder: Path, tag: str = "demo") -> dict[tuple[str, str, str], dict]:
    entries = json.loads((folder / "exp" / tag / "results.json").read_text())
    return {(entry["task"], entry["upstream"], entry["metric"]): entry for entry in entries}


def would_run(text: str) -> set[str]:
    return {line.split()[1].rstrip(":") for line in text.splitlines() if ": would run: " in line}


def has_run(text: str) -> set[str]:
    return {line.split()[1].rstrip(":") for line in text.splitlines() if ": runs: " in line}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run; tests leave it as it is, but may add other experiments."""
    folder = tmp_path_factory.mktemp("recipe")
    shutil.copytree(REPOSITORY / "tests/recipe/conf", folder / "conf")
    done = run(folder)
    assert done.returncode == 0, done.stderr
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


def test_all_six_stages_give_every_result(finished):
    found = results(finished)
    wanted = {
        (task, upstream, "accuracy") for task in ("phone", "speaker") for upstream in UPSTREAMS + CONTROLS
    }
    wanted |= {
        ("verification", upstream, metric)
        for upstream in UPSTREAMS + CONTROLS
        for metric in ("eer", "min_dcf")
    }
    wanted |= {("asr", upstream, metric) for upstream in UPSTREAMS for metric in ("wer", "cer")}
    assert set(found) == wanted
    for entry in found.values():
        assert set(entry) == {
            "task", "upstream", "features", "set", "metric", "value", "ci95", "n", "better", "checkpoint",
            "seed", "commit", "created",
        }  # fmt: skip
        assert entry["ci95"][0] <= entry["ci95"][1]
        assert entry["task"] == "verification" or entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
        assert entry["features"] == "fbank80"
        assert (finished / entry["checkpoint"]).exists()
    assert {entry["set"] for entry in found.values()} == {"mini_test", "mini_train:test"}


def test_ends_with_the_table(finished):
    lines = (finished / "stdout").read_text().splitlines()
    assert lines[0].split()[:4] == ["representation", "features", "phone", "speaker"]
    assert [line.split()[0] for line in lines[4:]] == UPSTREAMS + CONTROLS
    assert "| apc_untrained (control) |" in (finished / "exp/demo/RESULTS.md").read_text()


def test_tells_each_stage_with_its_time(finished):
    told = (finished / "stderr").read_text()
    for number in range(6):
        assert f" stage {number} (" in told
    assert told.count(" done in ") > 6


def test_the_code_in_the_readme_runs(finished):
    text = (REPOSITORY / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    flac = next(finished.glob("corpus/LibriSpeech/mini-test/*/*/*.flac"))
    code = code.replace("egs/librispeech/exp/demo/apc", "exp/demo/apc").replace("speech.flac", str(flac))
    code += "\nprint(*output.hiddens[-1].shape, output.frame_shift_ms)"
    environment = ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=finished, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    batch, frames, dim, shift_ms = done.stdout.split()
    assert (batch, dim, shift_ms) == ("1", "16", "10.0")
    assert int(frames) > 50


def test_curves_of_pretrainings_as_a_table(finished):
    script = REPOSITORY / "egs/librispeech/local/curves.py"
    words = [sys.executable, script, "exp/demo/apc", "exp/demo/mockingjay"]
    environment = ENVIRONMENT | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(words, cwd=finished, env=environment, capture_output=True, text=True, check=True)
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["run", "step", "loss", "relative"]
    comments = [line for line in lines if line.startswith("# ")]
    assert [line.split()[1] for line in comments] == ["exp/demo/apc:", "exp/demo/mockingjay:"]
    assert " --" not in comments[0] and "--upstream mockingjay" in comments[1]
    rows = [line.split() for line in lines if not line.startswith("#")]
    assert {name for name, *_ in rows} == {"exp/demo/apc", "exp/demo/mockingjay"}
    assert all(0 < float(loss) < 5 and 0 < float(relative) < 5 for _, _, loss, relative in rows)


def test_second_run_does_nothing(finished):
    before = (finished / "exp/demo/results.json").read_text()
    again = run(finished)
    assert again.returncode == 0
    assert ": runs: " not in again.stderr
    assert again.stdout == (finished / "stdout").read_text()
    assert (finished / "exp/demo/results.json").read_text() == before


def test_a_table_has_only_what_the_command_vouches_for(finished):
    pages = [finished / "exp/demo" / name for name in ("RESULTS.md", "report.html")]
    before = [page.read_text() for page in pages]
    known = results(finished)
    words = ["--upstreams", "fbank apc", "--tasks", "phone verification", "--controls", "false"]
    try:
        done = run(finished, *words, "--stage", "3")
        told = pages[0].read_text()
    finally:
        for path, text in zip(pages, before, strict=True):
            path.write_text(text)
    assert done.returncode == 0 and not has_run(done.stderr), done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["representation", "features", "phone", "verification", "verification"]
    assert [line.split()[0] for line in lines[4:]] == ["fbank", "apc"]
    left_out = {f"{task}/{row}/{entry['set']}" for (task, row, _), entry in known.items()
                if row not in ("fbank", "apc") or task not in ("phone", "verification")}  # fmt: skip
    assert f"not shown: {', '.join(sorted(left_out))}" in done.stderr
    assert "mockingjay |" not in told and "Controls" not in told
    assert "--upstreams" in told and "--stage" not in told  # the command that makes all of it anew
    assert results(finished) == known


def test_labels_stay_when_another_experiment_does_not_need_them(finished):
    done = run(finished, "--tag", "other", "--tasks", "speaker", "--stop-stage", "0")
    assert done.returncode == 0 and ": runs: " not in done.stderr, done.stderr
    assert (finished / "data/mini_train/phones.ctm").exists()


def test_sets_and_readers_that_are_not_there_are_told(finished, tmp_path):
    words = [RECIPE, "--corpus", str(finished / "corpus"), "--expdir", "exp", "--datadir", "data"]
    words += ["--tasks", "speaker", "--dev-sets", "mini-dev", "--test-sets", "mini-test", "--train-sets"]
    reader = (finished / "data/mini_train/spk2utt").read_text().partition("-")[0]
    for given, told in [
        ("mini-trian", "no set 'mini-trian'; there are mini-dev mini-test mini-train ("),
        (f"mini-train:{reader},9999", f"mini-train:{reader},9999: reader '9999' is not in"),
    ]:
        done = subprocess.run(
            [*words, given, "--stop-stage", "0"], cwd=tmp_path, env=ENVIRONMENT,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 2 and told in done.stderr, done.stderr
        assert not list(tmp_path.glob("data/*9999"))


def test_a_changed_configuration_redoes_what_depends_on_it(finished):
    path = finished / "conf/apc.yaml"
    text = path.read_text()
    try:
        path.write_text(f"# a comment changes nothing\n{text}")
        assert would_run(run(finished, "--dry-run", "true").stderr) == set()
        path.write_text(text.replace("hidden-size: 16", "hidden-size: 24"))
        told = run(finished, "--dry-run", "true").stderr
    finally:
        path.write_text(text)
    assert "apc: would run: input " in told
    assert "apc_mini_train: would run: input exp/demo/apc/model.json would be made anew" in told.replace(
        f"{finished}/", ""
    )
    names = would_run(told)
    assert {"apc", "apc_untrained", "apc_mini_dev", "phone_apc", "score_asr_apc_mini_test"} <= names
    assert all("apc" in name for name in names)


def test_a_corrected_transcript_redoes_recognition_alone(finished):
    path = next((finished / "corpus/LibriSpeech/mini-train").rglob("*.trans.txt"))
    text = path.read_text()
    try:
        path.write_text(text.replace(" ", " INDEED ", 1))
        assert has_run(run(finished, "--stop-stage", "2").stderr) == {"mini_train"}
        names = would_run(run(finished, "--stage", "3", "--dry-run", "true").stderr)
    finally:
        path.write_text(text)
    assert {"asr_apc", "decode_asr_apc_mini_test", "score_asr_apc_mini_test"} <= names
    assert all("asr" in name for name in names)
    assert has_run(run(finished, "--stop-stage", "0").stderr) == {"mini_train"}
    assert would_run(run(finished, "--dry-run", "true").stderr) == set()


def test_removed_features_and_representations_are_made_again_and_nothing_behind_them(finished):
    for name in ("demo/apc", "fbank80/mini_dev"):
        shutil.rmtree(finished / "dump" / name)
    done = run(finished)
    assert done.returncode == 0, done.stderr
    assert has_run(done.stderr) == {"mini_dev", "apc_mini_train", "apc_mini_dev", "apc_mini_test"}
    assert done.stdout == (finished / "stdout").read_text()


def test_a_seed_redoes_training_but_no_features(finished):
    told = run(finished, "--seed", "2", "--dry-run", "true")
    assert told.returncode == 0
    names = would_run(told.stderr)
    assert {
        "apc",
        "phone_apc",
        "asr_fbank",
        "decode_asr_apc_mini_test",
        "score_phone_fbank_mini_test",
    } <= names
    assert not names & {"corpus_corpus", "mini_train", "mini_dev", "mini_test"}
    assert "apc: would run: command changed: --seed 1 -> 2" in told.stderr


def test_other_features_and_layers_run_beside_the_first(finished):
    def state():
        kept = [finished / "exp/demo", finished / "dump/fbank80", finished / "dump/demo", finished / "data"]
        return {p: p.stat().st_mtime_ns for top in kept for p in top.rglob("*") if p.is_file()}

    before = state()
    config = RECIPE.parent / "conf/mel160.yaml"
    rows = ("fbank", "apc", "apc_layer0", "apc_average", "apc_layers", "apc_finetune", "mockingjay_large")
    words = ["--feature-config", str(config), "--targets", "mockingjay_large=conf/linear1025.yaml",
             "--tasks", "phone", "--controls", "false", "--upstreams"]  # fmt: skip
    done = run(finished, *words, " ".join(rows), "--stage", "1")
    assert done.returncode == 0, done.stderr
    found = results(finished, "demo_mel160")
    assert set(found) == {("phone", upstream, "accuracy") for upstream in rows}
    models = [read_info(finished / f"exp/demo_mel160/phone_{upstream}") for upstream in rows]
    assert len({model["weights_sha256"] for model in models}) == len(rows), "no row is another's"
    assert not (finished / "exp/demo_mel160/apc_layer0").exists(), "one model has all layers"
    assert len(learned_weights(finished / "exp/demo_mel160/phone_apc_layers")) == 2
    steps = (finished / "exp/demo_mel160/logs/4_phone_apc_layers.log").read_text()
    assert "valid step 6/6" in steps, "conf/phone_layers.yaml learns the weights"
    assert not (finished / "dump/demo_mel160/apc_finetune").exists(), "it reads acoustic features"
    large = read_info(finished / "exp/demo_mel160/mockingjay_large")
    assert (large["input"]["dim"], large["target"]["dim"]) == (160, 1025)
    assert not (finished / "dump/linear1025/mini_test").exists(), "nothing is pre-trained on it"
    assert read_info(finished / "exp/demo_mel160/phone_apc_finetune")["config"]["fine_tune"]
    spelt = ["conf/mel160.yaml", "--targets", f"mockingjay_large={RECIPE.parent}/conf/linear1025.yaml"]
    again = run(finished, words[0], *spelt, *words[4:], " ".join(rows), "--stage", "1", "--dry-run", "true")
    assert would_run(again.stderr) == set() and "up to date" in again.stderr, again.stderr
    words[2:4] = []
    words += ["apc apc_finetune", "--label-shares", "0.5", "--share-seeds", "1 2", "--stage", "4"]
    done = run(finished, *words)
    assert done.returncode == 0, done.stderr
    few = json.loads((finished / "exp/demo_mel160/label_share/0.5.json").read_text())
    assert {(entry["upstream"], entry["seed"]) for entry in few} == {
        (row, seed) for row in ("apc", "apc_finetune") for seed in (1, 2)
    }
    assert "train-proportion 0.5: " in (finished / "exp/demo_mel160/logs/4_phone_apc_0.5_s2.log").read_text()
    assert (finished / "exp/demo_mel160/label_share/phone_mini_test_accuracy.png").exists()
    assert {entry["features"] for entry in found.values()} == {"mel160"}
    assert state() == before


def test_other_peoples_labels_and_splits(finished):
    """Ids per 10 ms and lists of utterances, as CPC's; they count from where the recipe is called from."""
    durations = read_table(finished / "data/mini_train/utt2dur")
    ids = {utt_id: " ".join(["0"] * round(100 * float(dur_s) - 2)) for utt_id, dur_s in durations.items()}
    write_table(finished / "ids.txt", ids)
    utt_ids = sorted(durations)
    for name, some in (("mine", utt_ids[::2]), ("theirs", utt_ids[1::2])):
        (finished / f"{name}.txt").write_text("\n".join(some) + "\n")
    words = ["--tag", "splits", "--upstreams", "fbank", "--controls", "false", "--tasks", "phone speaker"]
    files = "mine.txt@train mine.txt@valid theirs.txt"
    words += ["--phone-split", files, "--speaker-split", "train+valid test test"]
    done = run(finished, *words, "--phone-labels", "ids.txt")
    assert done.returncode == 0, done.stderr
    found = results(finished, "splits")
    assert set(found) == {("phone", "fbank", "accuracy"), ("speaker", "fbank", "accuracy")}
    phone, speaker = (found[task, "fbank", "accuracy"] for task in ("phone", "speaker"))
    assert (phone["set"], phone["n"], phone["value"]) == ("mini_train:theirs", len(utt_ids[1::2]), 100)
    assert speaker["set"] == "mini_train:test"
    assert "warning: --speaker-split: 'test', to test on, has utterances of 'test'" in done.stderr
    words += ["--phone-labels", "ids.txt"]
    assert "would run" not in run(finished, *words, "--dry-run", "true").stderr
    (finished / "theirs.txt").write_text("\n".join(utt_ids[1::2][:-1]) + "\n")  # under the same name
    told = run(finished, *words, "--dry-run", "true").stderr
    assert re.search(r" decode_phone_fbank_mini_train: would run: input .*/theirs\.txt changed", told), told
    assert " phone_fbank: up to date" in told  # it is of the test part
    for wrong, told in (
        ("train test", "--phone-split wants three parts to train, validate and test on"),
        ("train valid none.txt", "--phone-split: there is no file"),
    ):
        done = run(finished, *words, "--phone-split", wrong)
        assert done.returncode == 2 and told in done.stderr
    (finished / "my files").mkdir()
    shutil.copy(finished / "mine.txt", finished / "my files")
    done = run(finished / "my files", *words[:-2], "--phone-split", "train valid mine.txt")
    assert done.returncode == 2 and "--phone-split: a blank in the path" in done.stderr
    done = run(finished, *words, "--phone-labels", "none.txt")
    assert done.returncode == 2 and "--phone-labels: there is no" in done.stderr


def test_killed_in_the_middle_and_run_again_gives_the_same(finished):
    words = ["--tag", "killed", "--upstreams", "apc", "--controls", "false", "--tasks", "phone", "--nj", "1"]
    process = subprocess.Popen(
        command(*words), cwd=finished, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    wait_until(lambda: list(finished.glob("exp/killed/apc/checkpoints/*.pt")), process)
    process.kill()
    process.wait()
    assert not (finished / "exp/killed/.done/apc").exists()
    again = None

    def may_run() -> bool:  # what was running holds the lock until it has ended
        nonlocal again
        again = run(finished, *words)
        return "another run is at work" not in again.stderr

    wait_until(may_run)
    assert again.returncode == 0, again.stderr
    assert "apc: runs: first time; goes on where it was interrupted" in again.stderr
    undisturbed = results(finished)["phone", "apc", "accuracy"]["value"]
    assert results(finished, "killed")["phone", "apc", "accuracy"]["value"] == undisturbed


def test_interrupt_ends_everything_and_says_how_to_go_on(finished):
    words = ["--tag", "interrupted", "--upstreams", "apc", "--controls", "false", "--tasks", "phone"]
    process = subprocess.Popen(
        command(*words), cwd=finished, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        text=True, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: (finished / "exp/interrupted/logs/2_apc.log").exists(), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    told = process.communicate(timeout=60)[1]
    assert process.returncode != 0
    assert "apc: interrupted after" in told
    assert not (finished / "exp/interrupted/.done/apc").exists()


def test_two_runs_at_once_are_refused(finished):
    with open(finished / "exp/demo/.lock", "r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.write("process 7 on here since noon")
        stream.flush()
        done = run(finished)
    assert done.returncode == 1
    assert "another run is at work on this (process 7 on here since noon" in done.stderr
    assert "exp/demo/.lock" in done.stderr


IDS = REPOSITORY / "LICENSE"  # of words, some of which are in another file


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--no-such-option", "1"], "unknown option --no-such-option"),
        (["--stage", "abc"], "--stage wants an integer"),
        (["--stage", "6"], "no stage to run: stages are 0 to 5, --stage is 6"),
        (["--stage", "3", "--stop-stage", "2"], "no stage to run"),
        (["--stop-stage", "-1", "--stage", "-2"], "no stage to run"),
        (["--stop-stage", "9"], "--stop-stage 9: stages are 0 to 5"),
        (["--tasks", "phone emotion"], "unknown task 'emotion'"),
        (["--phone-labels", ".", "--aligner", "pocketsphinx"], "--phone-labels are in place of --alignments"),
        (["--phone-split", "train valid train+test"], "'train+test', to test on, has utterances of 'train'"),
        (["--speaker-split", f"{IDS}@train {IDS}@valid {IDS}"], "LICENSE', to test on, has utterances of"),
        (["--phone-split", f"{IDS} {IDS} {IDS.with_name('README.md')}"], "README.md', to test on, has utt"),
        (["--download-url", "http://x"], "--download-url goes with --corpus librispeech"),
        (["--tasks", "verification", "--label-shares", "0.1"], "--label-shares: verification trains nothing"),
        (["--label-shares", "0.1", "--share-seeds", "1,2"], "--share-seeds wants whole numbers, such as"),
        (
            ["--tasks", "verification", "--upstreams", "apc_finetune", "--controls", "false"],
            "verification trains nothing, so there is none of rows such as 'apc_finetune'",
        ),
        (["--train-sets", "mini-trian"], "no set 'mini-trian'; there are mini-train mini-dev mini-test"),
        (["--upstreams", "fbank apd"], "unknown upstream 'apd': there is no apd.yaml in conf/small conf"),
        (["--upstreams", "apc_layer3"], "row 'apc_layer3': conf/small/apc.yaml has 3 layers, counted from 0"),
        (["--feature-config", "conf/none.yaml"], "--feature-config: there is no"),
        (["--targets", "conf/mel160.yaml"], "--targets wants UPSTREAM=CONFIG of --upstreams, such as"),
        (["--targets", "mockingjay="], "--targets wants UPSTREAM=CONFIG of --upstreams, such as"),
        (
            ["--targets", "mockingjay_large=conf/mel160.yaml"],
            "--targets wants UPSTREAM=CONFIG of --upstreams",
        ),
        (["--targets", "apc=conf/mel160.yaml"], "apc, by conf/small/apc.yaml, is no mockingjay: others"),
        (["--targets", "mockingjay=conf/mel16.yaml"], "--targets: there is no "),
        (["--targets", "mockingjay=conf/mel160.yaml mockingjay=conf/mfcc39.yaml"], "--targets: two for mock"),
        (
            [
                "--targets",
                "mockingjay=conf/small/mockingjay.yaml",
                "--feature-config",
                "conf/mockingjay.yaml",
            ],
            "conf/mockingjay.yaml and conf/small/mockingjay.yaml would share dump/mockingjay",
        ),
        (["--backend", "pbs"], "unknown backend 'pbs', want local or slurm"),
        (["--aligner", "mfa"], "--aligner wants none or pocketsphinx, not 'mfa'"),
        (["--nj", "0"], "--nj wants 1 or more"),
        (["--corpus", "nowhere"], "--corpus wants mini, librispeech, none or a folder; no SPEAKERS.TXT in"),
    ],
)
def test_bad_options_are_refused_before_anything_is_made(tmp_path, words, told):
    done = subprocess.run(
        [RECIPE, "--expdir", "exp", "--datadir", "data", *words],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert told in done.stderr
    assert not list(tmp_path.iterdir())


def test_slurm_that_is_not_there_is_told_before_anything_is_made(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for folder in reversed(ENVIRONMENT["PATH"].split(os.pathsep)):
        for path in Path(folder).glob("*"):
            (programs / path.name).unlink(missing_ok=True)
            (programs / path.name).symlink_to(path)
    (programs / "sbatch").unlink(missing_ok=True)
    done = subprocess.run(
        [RECIPE, "--expdir", "exp", "--datadir", "data", "--backend", "slurm"], cwd=tmp_path,
        env=ENVIRONMENT | {"PATH": str(programs)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2 and "--backend slurm: there is no sbatch here" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_data_directories_that_are_there_are_used_and_never_written_over(finished, tmp_path):
    shutil.copytree(finished / "conf", tmp_path / "conf")
    shutil.copytree(finished / "data", tmp_path / "data", ignore=shutil.ignore_patterns(".done"))
    before = {path: path.read_bytes() for path in (tmp_path / "data").rglob("*") if path.is_file()}

    def run_on(corpus: str, *words: str) -> subprocess.CompletedProcess:
        folders = ["--expdir", "exp", "--dumpdir", "dump", "--datadir", "data", "--confdir", "conf"]
        rows = ["--upstreams", "fbank", "--tasks", "phone asr", "--controls", "false", "--nj", "2"]
        return subprocess.run([str(RECIPE), "--corpus", corpus, *folders, *rows, *words], cwd=tmp_path,
                              env=ENVIRONMENT, capture_output=True, text=True, timeout=600)  # fmt: skip

    done = run_on("mini", "--corpus-dir", str(finished / "corpus"), "--stop-stage", "0")
    assert done.returncode == 2
    assert "data/mini_train/utt2spk is there, and not made by this recipe" in done.stderr
    sets = ["--train-sets", "mini_train", "--dev-sets", "mini_dev", "--test-sets", "mini_test"]
    done = run_on("none", *sets, "--aligner", "pocketsphinx", "--stop-stage", "0")
    assert done.returncode == 2 and "data/mini_train/phones.ctm is there, and not made" in done.stderr
    done = run_on("none", *sets)
    assert done.returncode == 0, done.stderr
    values, known = (
        {key: entry["value"] for key, entry in results(folder).items() if key[1] == "fbank"}
        for folder in (tmp_path, finished)
    )
    assert values == {key: known[key] for key in values} and len(values) == 3
    assert "warning: " not in done.stderr
    done = run_on("none", *sets[:-1], "mini_train mini_test", "--stop-stage", "0")
    assert re.search(r"warning: \d+ speakers of mini_train are in mini_train, too, such as \S", done.stderr)
    assert {path: path.read_bytes() for path in before} == before
    done = run_on("none", "--train-sets", "mini_train", "--dev-sets", "mini_dev", "--test-sets", "tset")
    assert done.returncode == 2
    assert "data: no set 'tset'; there are mini_dev mini_test mini_train" in done.stderr


BINDING = """--stage --stop-stage --ngpu --nj --corpus --corpus-dir --download-url --feature-config
--upstreams --tasks --tag --expdir --dumpdir --datadir --backend --seed --verbose --pretrain-sets
--train-sets --dev-sets --test-sets --alignments --aligner"""


def test_help_names_every_option_and_the_readmes_no_other(tmp_path):
    done = subprocess.run(
        [RECIPE, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    for option in BINDING.split():
        assert f"  {option} " in done.stdout
    for path in ("README.md", "egs/librispeech/README.md"):
        lines = [line for line in (REPOSITORY / path).read_text().splitlines() if "./run.sh " in line]
        assert lines
        for option in re.findall(r"--[a-z-]+", " ".join(lines)):
            assert f"  {option} " in done.stdout or option == "--help", f"{path}: {option}"
    assert "[fbank apc mockingjay]" in done.stdout


def test_labels_that_a_corpus_lacks_are_told(finished, tmp_path):
    corpus = Path(shutil.copytree(finished / "corpus/LibriSpeech", tmp_path / "audio_only"))
    for path in corpus.rglob("*.trans.txt"):
        path.unlink()
    words = [RECIPE, "--corpus", "audio_only", "--expdir", "exp", "--datadir", "data", "--stop-stage", "0"]
    words += ["--train-sets", "mini-dev", "--dev-sets", "mini-test"]
    reader = (finished / "data/mini_test/spk2utt").read_text().partition("-")[0]
    no_text = "the asr task needs data/mini_dev/text: a set without *.trans.txt has none: leave asr out"
    for tasks, test_set, told in [
        ("asr", "mini-test", no_text),
        ("phone", "mini-test", "the phone task needs data/mini_dev/phones.ctm: give --alignments DIR"),
        ("speaker verification", "mini-test", ""),
        ("verification", f"mini-test:{reader}", "is not such a set: leave verification out of --tasks"),
    ]:
        done = subprocess.run(
            [*words, "--tasks", tasks, "--test-sets", test_set],
            cwd=tmp_path,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == (2 if told else 0), done.stderr
        assert told in done.stderr.replace(f"{tmp_path}/", "")


def test_two_data_directories_of_one_corpus(tmp_path):
    """Each makes the mini corpus in its own way, and neither takes the other's for its own."""
    for name, more in (("conf", ""), ("other", "seed: 7\n")):
        shutil.copytree(REPOSITORY / "tests/recipe/conf", tmp_path / name)
        (tmp_path / name / "mini_corpus.yaml").write_text(f"speakers: 1 1 1\nsentences: 2\n{more}")

    def texts(name):
        done = run(
            tmp_path, "--confdir", name, "--datadir", f"data_{name}", "--stop-stage", "0", "--tasks", "phone"
        )
        assert done.returncode == 0, done.stderr
        return (tmp_path / f"data_{name}/mini_train/text").read_text()

    first = texts("conf")
    marker = tmp_path / "data_conf/.done/mini_test_phones"
    marker.write_text("{}")
    assert texts("other") != first
    assert texts("conf") == first
    assert not marker.exists()  # the phones are those of the alignments now, and no aligner's


def test_librispeech_would_be_downloaded(tmp_path):
    done = subprocess.run(
        [RECIPE, "--corpus", "librispeech", "--download-url", "http://mirror/librispeech",
         "--dry-run", "true", "--stop-stage", "0", "--aligner", "pocketsphinx",
         "--expdir", "exp", "--datadir", "data"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--parts 'train-clean-100 dev-clean test-clean' --out-dir download/librispeech" in done.stderr
    assert "--url http://mirror/librispeech" in done.stderr
    assert "speechrep.bin.align_phones" in done.stderr
    assert not list(tmp_path.iterdir())


def test_phones_without_alignments_are_refused_before_the_download(tmp_path):
    done = subprocess.run(
        [RECIPE, "--corpus", "librispeech", "--download-url", str(tmp_path / "nowhere"),
         "--corpus-dir", "corpus", "--expdir", "exp", "--datadir", "data"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert "the phone task needs" in done.stderr and "nowhere" not in done.stderr
    assert not (tmp_path / "corpus").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--ngpu", "1"], "--ngpu 1: PyTorch sees fewer GPUs here"),
        (["--num-nodes", "2"], "--num-nodes 2 wants --backend slurm"),
        (["--num-nodes", "0"], "--num-nodes wants 1 or more, not 0"),
        (["--train-sets", "mini-train mini_train"], "the sets 'mini-train' and 'mini_train' would share"),
    ],
)
def test_what_cannot_be_is_told_before_anything_runs(tmp_path, words, told):
    done = subprocess.run(
        [RECIPE, "--corpus-dir", "corpus", "--expdir", "exp", "--datadir", "data", *words],
        cwd=tmp_path, env=ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0 and told in done.stderr
    assert not list(tmp_path.iterdir())


def test_real_speech_with_readers_chosen(shared_data, tmp_path):
    corpus = shared_data / "librispeech-phones"
    readers = sorted(path.name for path in (corpus / "LibriSpeech/test-other").iterdir())
    sets = [f"test-other:{','.join(some)}" for some in (readers[:3], readers[:1], readers[3:])]
    words = ["--train-sets", sets[0], "--dev-sets", sets[1], "--test-sets", sets[2]]
    words += ["--alignments", str(corpus / "alignments"), "--upstreams", "fbank", "--controls", "false"]
    folders = ["--expdir", "exp", "--dumpdir", "dump", "--datadir", "data"]
    command = [RECIPE, "--corpus", corpus, "--tasks", "phone", *folders, *words]
    for dry in (["--dry-run", "true"], []):
        done = subprocess.run(
            [*command, *dry], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stderr
        assert bool(dry) == ("would run" in done.stderr) == (not list(tmp_path.iterdir()))
    (result,) = results(tmp_path).values()
    assert result["n"] == 20
    assert 30 < result["value"] < 60  # fbank gives about 39 %, silence alone 24


def wait_until(condition, process: subprocess.Popen | None = None) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        assert process is None or process.poll() is None, "the recipe ended early"
        time.sleep(0.02)

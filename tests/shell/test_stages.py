"""The steps that utils/stages.sh makes of options and configurations."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from speechrep.io.ark import write_ark

REPOSITORY = Path(__file__).parents[2]
SETUP = """set -euo pipefail
    given_options=" " called_from=$PWD feature_config=conf/features.yaml feature=features
    upstreams="apc apc" controls=false upstream_from= label_shares="0.1 0.1" share_seeds="2 2"
    tag=t expdir=exp dumpdir=dump datadir=data ngpu=0
    nj=2 seed=1 dry_run=true verbose=1 stage=0 stop_stage=5 backend=local
    . utils/recipe.sh
    confs=(conf) tasks=asr control_tasks=
    pretrain=more train=train dev=dev tests=test labelled="train dev test"
    labels_of() { echo text; }
    split_of() { :; }
    find_audio() { audio=(); }
    check_labels() { :; }
    . utils/stages.sh
"""
STEPS = """
    cpu_cmd= pretrain_cmd= train_cmd= array_cmd= cuda_array_cmd=
    step() { shift; echo "$@"; }
    run_steps() { :; }
    extract_features; pretrain_upstreams; train_tasks"""


@pytest.fixture
def steps(tmp_path):
    """Name of each step to its inputs and its command."""
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "speechrep").symlink_to(REPOSITORY / "speechrep")
    (tmp_path / "conf").mkdir()
    (tmp_path / "dump/linear/train").mkdir(parents=True)
    (tmp_path / "exp/units").mkdir(parents=True)
    (tmp_path / "exp/units/tokenizer.json").touch()
    (tmp_path / "conf/features.yaml").write_text("feature: fbank\ncmvn: global\n")
    (tmp_path / "conf/apc.yaml").write_text("upstream: apc\ntrain-target-dir: dump/linear/train\n")
    (tmp_path / "conf/asr.yaml").write_text("tokenizer: exp/units\n")
    done = subprocess.run(["bash", "-c", SETUP + STEPS], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition(" ")
        assert name not in found, f"{name} twice, side by side"
        given, _, command = rest.partition(" -- ")
        found[name] = (given.partition("--in ")[2].partition(" --out ")[0].split(), command)
    return found


def test_words_given_twice_make_no_step_twice(steps):
    assert set(steps) == {"more", "train", "dev", "test", "apc", "asr_apc", "asr_apc_0.1_s2"}


def test_global_statistics_are_those_of_the_set_that_is_pretrained_on(steps):
    assert "--global-cmvn-from" not in steps["more"][1]
    for name in ("train", "dev", "test"):
        inputs, command = steps[name]
        assert command.endswith("--global-cmvn-from=dump/features/more")
        assert "dump/features/more/cmvn.ark" in inputs


def test_what_a_configuration_names_is_an_input(steps):
    assert "dump/linear/train" in steps["apc"][0]
    for name in ("asr_apc", "asr_apc_0.1_s2"):
        inputs = steps[name][0]
        assert "exp/units/tokenizer.json" in inputs and "exp/units" not in inputs


def test_a_configurations_words_are_paths_where_they_are_written_as_such(tmp_path, monkeypatch):
    """And the archives of a table, or their folders where there are too many for a command line."""
    monkeypatch.syspath_prepend(REPOSITORY / "utils")
    config_inputs = importlib.import_module("config_inputs")
    for name in ("mel", "exp/apc", "data/train", "arks"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "conf.yaml").write_text("feature: mel\npretrained: exp/apc\nother: exp/gone\nmap: w.txt\n")
    (tmp_path / "w.txt").touch()
    words = [sys.executable, str(REPOSITORY / "utils/config_inputs.py"), "conf.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "exp/apc\nw.txt\n"
    places, arks = [], [tmp_path / f"arks/{number}.ark" for number in range(3)]
    for number, ark in enumerate(arks):
        write_ark(ark, [(f"u{number}", np.ones((2, 3), np.float32))], tmp_path / "one.scp")
        places.append((tmp_path / "one.scp").read_text())
    table = tmp_path / "data/train/feats.scp"
    table.write_text("".join(places))
    found = config_inputs.ready_made({"feature": "kaldi"}, tmp_path / "data/train")
    assert found == {str(table), *map(str, arks)}
    monkeypatch.setattr(config_inputs, "MOST", 3)
    found = config_inputs.ready_made({"feature": "kaldi"}, tmp_path / "data/train")
    assert found == {str(table.parent), str(tmp_path / "arks")}


def test_representations_are_of_one_experiment(tmp_path):
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "conf").mkdir()
    for name in ("features", "apc", "asr"):
        (tmp_path / f"conf/{name}.yaml").write_text("upstream: apc\n")
    for name in ("a/t", "b/t", "a/copy"):
        (tmp_path / name).mkdir(parents=True)

    def claim(exp, stage, more=""):
        script = f"{SETUP} dry_run=false stage_number={stage} exp={exp} tag=${{exp#*/}} reps=dump/$tag {more}"
        words = ["bash", "-c", f"{script}; claim_representations"]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)

    assert claim("a/t", 4).returncode == 0 and not (tmp_path / "dump").exists()
    assert claim("a/t", 3).returncode == 0
    for stage in (3, 4, 5):
        other = claim("b/t", stage)
        assert other.returncode == 2
        assert f"dump/t holds the representations of {tmp_path}/a/t: choose another" in other.stderr
        assert claim("a/t", stage).returncode == 0
        assert claim("b/t", stage, "upstream_from=a/t").returncode == 0  # it reads that one's
    shutil.copytree(tmp_path / "dump/t", tmp_path / "dump/copy")
    assert claim("a/copy", 3).returncode == 0
    shutil.rmtree(tmp_path / "a/t")
    assert claim("b/t", 3).returncode == 0
    assert claim("b/t", 4).returncode == 0


def test_a_model_whose_training_was_interrupted_is_not_used(tmp_path):
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "speechrep").symlink_to(REPOSITORY / "speechrep")
    (tmp_path / "conf").mkdir()
    for name in ("features", "apc", "asr", "decode"):
        (tmp_path / f"conf/{name}.yaml").write_text("upstream: apc\n")

    def used(function, tag="t", more=""):
        script = f"{SETUP} dry_run=false stage_number=3 tag={tag} exp=exp/{tag} {more}\n"
        script += f"{STEPS.partition('extract')[0]} {function}"
        return subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)

    done = tmp_path / "exp/t/.done"
    done.mkdir(parents=True)
    (tmp_path / "exp/t/apc").mkdir()
    (tmp_path / "exp/t/apc/model.json").touch()
    for model, told, functions in (
        ("apc", "apc in exp/t was interrupted: run stage 2 there", ("represent_sets",)),
        ("asr_apc", "asr_apc in exp/t was interrupted: run stage 4 there", ("decode_and_score",)),
    ):
        (done / f"{model}.started").touch()
        for function in functions:
            found = used(function)
            assert found.returncode == 2 and told in found.stderr
        if model == "apc":
            assert told in used("represent_sets", tag="other", more="upstream_from=exp/t").stderr
        (done / model).touch()  # it came to its end
        assert used(functions[0]).returncode == 0


def test_whose_a_data_directory_is(tmp_path):
    """One that no recipe made is refused; one whose recordings have moved is made again."""
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "data/set").mkdir(parents=True)
    (tmp_path / "a.wav").touch()

    def after(dry_run="false"):
        script = f"set -eu; . utils/recipe.sh; datadir=data dry_run={dry_run}\n"
        script += "require_own set data/set/utt2spk mend; forget_moved set data/set"
        return subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)

    assert after().returncode == 0
    (tmp_path / "data/set/utt2spk").write_text("a a\n")
    (tmp_path / "data/set/wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    for dry_run in ("true", "false"):
        found = after(dry_run)
        assert found.returncode == 2 and "data/set/utt2spk is there, and not made by this" in found.stderr
    (tmp_path / "data/.done").mkdir()
    for name in ("set", "set.lock"):
        (tmp_path / "data/.done" / name).touch()
    assert after().returncode == 0 and (tmp_path / "data/.done/set").exists()
    (tmp_path / "a.wav").unlink()
    assert after("true").returncode == 0 and (tmp_path / "data/.done/set").exists()
    assert after().returncode == 0 and not (tmp_path / "data/.done/set").exists()
    assert after().returncode == 0  # it is still the recipe's


def test_scores_whose_file_is_gone_are_all_made_again(tmp_path):
    """Not only that which begins it anew: the others would find it there."""
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "speechrep").symlink_to(REPOSITORY / "speechrep")
    (tmp_path / "conf").mkdir()
    (tmp_path / "exp/t/.done").mkdir(parents=True)
    (tmp_path / "exp/t/label_share").mkdir()
    for name in ("features", "apc", "asr", "decode"):
        (tmp_path / f"conf/{name}.yaml").write_text("upstream: apc\n")
    names = ["score_asr_apc_test", "score_phone_apc_test", "majority", "score_asr_apc_0.1_s2_test", "asr_apc",
             "decode_asr_apc_test"]  # fmt: skip

    def scored(dry_run):
        for name in names:
            (tmp_path / "exp/t/.done" / name).touch()
        script = f"{SETUP} dry_run={dry_run} stage_number=5 {STEPS.partition('extract')[0]} decode_and_score"
        done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return sorted(path.name for path in (tmp_path / "exp/t/.done").iterdir() if path.is_file())

    assert scored("true") == sorted(names)
    assert scored("false") == sorted(names[4:])  # those of other tasks, too
    (tmp_path / "exp/t/results.json").touch()
    assert scored("false") == sorted([*names[:3], *names[4:]])
    (tmp_path / "exp/t/label_share/0.1.json").touch()
    assert scored("false") == sorted(names)


@pytest.mark.parametrize(
    "path", ["exp", "./exp/", "here/../exp", "there", "there/", "{here}/exp", "/x//y/../z/", "-x"]
)
def test_a_path_is_the_same_however_it_is_spelt(tmp_path, path):
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "there").symlink_to("exp")
    (tmp_path / "link").symlink_to(tmp_path)
    script = (
        'set -euo pipefail; cd "$2"; given_options=" expdir " called_from=$PWD; . utils/recipe.sh; '
        'expdir=$1; outputs_as_given expdir; echo "$expdir"'
    )
    given = path.format(here=tmp_path)
    wanted = {"there": "there", "there/": "there", "/x//y/../z/": "/x/z", "-x": "./-x"}.get(path, "exp")
    for folder in (tmp_path, tmp_path / "link"):
        words = ["bash", "-c", script, "x", given, folder]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{wanted}\n"), done.stderr

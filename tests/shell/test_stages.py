"""The steps that utils/stages.sh makes of options and configurations."""

import importlib
import itertools
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
    upstreams="apc apc" targets= controls=false upstream_from= label_shares="0.1 0.1" share_seeds="2 2"
    tag=t confdir=conf expdir=exp dumpdir=dump datadir=data ngpu=0
    nj=2 seed=1 dry_run=true verbose=1 stage=0 stop_stage=5 backend=local
    . utils/recipe.sh
    confs=(conf) tasks=asr control_tasks=
    pretrain=more train=train dev=dev tests=test labelled="train dev test"
    labels_of() { echo text; }
    split_of() { :; }
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
    done = subprocess.run(
        ["bash", "-c", SETUP + STEPS, "run.sh"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        name, _, rest = line.partition(" ")
        assert name not in found, f"{name} twice, side by side"
        given, _, command = rest.partition(" -- ")
        found[name] = (given.partition("--in ")[2].partition(" --out ")[0].split(), command)
    return found


def test_recordings_that_gave_no_features_are_told_before_anything_is_trained(tmp_path):
    """Scoring takes all of a test set; what is trained on may lack a few."""
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "conf").mkdir()
    for name in ("features", "apc", "asr"):
        (tmp_path / f"conf/{name}.yaml").write_text("cmvn: none\n")
    script = SETUP + "array_cmd= dry_run=false\nstep() { :; }\nrun_steps() { :; }\nextract_features\necho on"

    def told(lost: str) -> tuple[str, str]:
        (tmp_path / f"dump/features/{lost}").mkdir(parents=True)
        (tmp_path / f"dump/features/{lost}/lost_utterances").write_text("u1 8000 Hz, want 16000\nu2 empty\n")
        done = subprocess.run(["bash", "-c", script, "run.sh"], cwd=tmp_path, capture_output=True, text=True)
        return done.stdout, done.stderr

    out, err = told("train")
    assert out == "on\n" and "warning: 2 utterances of train have no features, first u1 8000 Hz, want" in err
    out, err = told("test")
    assert (
        out == "" and "error: 2 utterances of test have no features, first u1" in err and "mend them" in err
    )


ROWS = "fbank apc apc_untrained apc_layers apc_average apc_finetune"
READ = (
    "--config", "--data-dir", "--train-dir", "--valid-dir", "--like", "--upstream", "--feats-dir",
    "--pretrained", "--train", "--valid", "--train-data", "--valid-data", "--data", "--ref", "--hyp",
    "--center-on", "--global-cmvn-from", "--train-target-dir", "--valid-target-dir",
)  # fmt: skip


@pytest.fixture
def planned(tmp_path):
    """Of a recipe: each step's launcher, inputs and command, and how many run at once in each stage.

    Steps that make further features of a set have their folder for a name.
    """
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "speechrep").symlink_to(REPOSITORY / "speechrep")
    for folder in ("conf", "lists", "lm", *(f"data/{name}" for name in ("more", "train", "dev", "test"))):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in (
        ("features", "feature: fbank\ncmvn: global\n"), ("apc", "upstream: apc\n"),
        ("fbank", "upstream: surface\n"), ("fbank_ctx4", "upstream: surface\n"), ("phone", "lr: 1\n"),
        ("phone_finetune", "lr: 2\n"), ("phone_layers", "lr: 3\n"), ("asr", "lr: 4\n"),
        ("asr_finetune", "lr: 5\n"), ("decode", "lm: lm/x\n"),
    ):  # fmt: skip
        (tmp_path / f"conf/{name}.yaml").write_text(text)
    tables = [f"data/{name}/wav.scp" for name in ("more", "train", "dev", "test")]
    for name in ("lists/a", "lists/b", "lm/x", "data/test/segments", *tables):
        (tmp_path / name).touch()

    def plan(rows=ROWS, tasks="phone", split="", cheap="", **options):
        given = {"upstreams": rows, "label_shares": "", "share_seeds": ""} | options
        lines = "".join(f"{name}='{value}'\n" for name, value in given.items())
        script = SETUP
        for usual, here in (
            ("    . utils/recipe.sh\n", f"{lines}. utils/recipe.sh\n"),
            ("tasks=asr control_tasks=", f"tasks='{tasks}' control_tasks='{cheap}'"),
            ("split_of() { :; }", f"split_of() {{ if [ $1 = phone ]; then echo {split}; fi; }}"),
        ):
            assert usual in script
            script = script.replace(usual, here)
        script += """
            cpu_cmd=cpu pretrain_cmd=large train_cmd=small array_cmd= cuda_array_cmd= stage_number=0
            step() { shift; echo "$cmd $@"; }
            run_steps() { echo "at once $1"; }
            python() { # what the configuration leads to
              if [[ $# -gt 2 || $1 == *order.py ]]; then PYTHON "$@"; else grep -o lm/x "$2" || true; fi
            }
            extract_features; pretrain_upstreams; represent_sets; train_tasks; decode_and_score
            echo "scored ${scored[@]} ${scored_of_share[@]}" """.replace("PYTHON", sys.executable)
        done = subprocess.run(["bash", "-c", script, "run.sh"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        found, at_once = {}, []
        for line in done.stdout.splitlines():
            if line.startswith("at once "):
                at_once.append(int(line.split()[2]))
                continue
            launcher, name, *rest = line.split()
            if name in found and "speechrep.bin.extract_feats" in rest:
                name = value_of("--out-dir", rest)
            if launcher == "scored":
                found["scored"] = [name, *rest]
                continue
            assert name not in found, f"{name} twice, side by side"
            inputs = itertools.takewhile(lambda word: word != "--out", rest[1:])
            found[name] = (launcher, list(inputs), rest[rest.index("--") + 1 :])
        return found, at_once

    return plan


def value_of(option: str, command: list[str]) -> str:
    return command[command.index(option) + 1]


@pytest.mark.parametrize("split", ["", "lists/a@train lists/a@valid lists/b"])
def test_what_a_step_reads_makes_it_run_again(planned, split):
    """Whatever its command names is among its inputs, as it is or by files in it."""
    steps, _ = planned(tasks="phone asr verification", split=split, label_shares="0.1", share_seeds="1")
    steps.pop("scored")
    assert len(steps) > 50
    for name, (_, inputs, words) in steps.items():
        command = " ".join(words).replace("=", " ").split()
        for option, value in itertools.pairwise(command):
            is_read = option in READ or (option == "--exp-dir" and "speechrep.bin.decode" in command)
            if is_read and "/" in value:
                assert any(path == value or path.startswith(f"{value}/") for path in inputs), (name, option)
            if option in ("--train-split", "--valid-split", "--split"):
                assert {value.partition("@")[0], "data/train/utt2spk"} <= set(inputs), (name, option)
        if "--pretrained" in command or "speechrep.bin.dump" in command:
            assert len([path for path in inputs if path.endswith("/model.safetensors")]) == 1, name
    for name in ("more", "train", "dev", "test"):
        assert {f"data/{name}/wav.scp", f"data/{name}/utt2spk"} <= set(steps[name][1])
        assert ("data/test/segments" in steps[name][1]) == (name == "test")
    assert "lm/x" in steps["decode_asr_apc_test" if split else "decode_phone_apc_test"][1]
    assert "dump/t/apc/train.h5" in steps["score_verification_apc_test"][1]


def test_features_to_reconstruct_are_made_of_what_is_pretrained_on_and_given_to_one_upstream(
    planned, tmp_path
):
    for name in ("linear", "large"):
        (tmp_path / f"conf/{name}.yaml").write_text("feature: linear\nupstream: mockingjay\n")
    steps, waits = planned(rows="fbank apc large large_untrained", targets="large=conf/linear.yaml")
    steps.pop("scored")
    made = {value_of("--out-dir", words) for _, _, words in steps.values() if "--out-dir" in words}
    assert {folder for folder in made if folder.startswith("dump/linear")} == {
        "dump/linear/more",
        "dump/linear/dev",
    }
    assert len(waits) == len(planned(rows="fbank apc large large_untrained")[1]) + 1
    for name in ("large", "large_untrained"):
        _, inputs, words = steps[name]
        assert value_of("--train-target-dir", words) == "dump/linear/more"
        assert value_of("--valid-target-dir", words) == "dump/linear/dev"
        assert {"dump/linear/more", "dump/linear/dev", "dump/features/more", "dump/features/dev"} <= set(
            inputs
        )
    for name in ("fbank", "apc"):
        assert "linear" not in " ".join(itertools.chain(*steps[name][1:]))
    steps, _ = planned(rows="large", targets="large=conf/features.yaml")
    assert value_of("--train-target-dir", steps["large"][2]) == value_of("--train-dir", steps["large"][2])


@pytest.mark.parametrize(
    ("conf", "row", "layers"),
    [
        ("num-layers: 2", "apc_layer1", 2),
        ("num-layers: 2", "apc_layer2", 0),
        ("num_layers: '2' # few", "apc_untrained_layer2", 0),
        ("num-layers: 2", "apc_untrained_layer01", 2),
        ("num-layers: 2", "apc_layer99999999999999999999", 0),
        ("num-layers: 2\nprenet-layers: 1", "apc_layer2", 3),
        ("num-layers: 2\nembedding-layer: true", "apc_layer2", 3),
        ("lr: 1", "apc_layer2", 3),  # the default of its kind of model, which the plan does not know
    ],
)
def test_a_layer_that_a_model_will_not_have_is_told_before_anything_is_made(
    planned, tmp_path, conf, row, layers
):
    (tmp_path / "conf/apc.yaml").write_text(f"upstream: apc\n{conf}\n")
    if layers:
        steps, _ = planned(rows=row)
        assert int(value_of("--layers", steps[f"{row}_train"][2])) < layers
    else:
        with pytest.raises(AssertionError, match=f"row '{row}': conf/apc.yaml has 2 layers, counted from 0"):
            planned(rows=row)


def test_what_begins_with_another_model_waits_for_it(planned, tmp_path):
    _, at_once = planned(rows="fbank apc")
    (tmp_path / "conf/adapted.yaml").write_text("upstream: apc\ninit-from: exp/t/apc\n")
    steps, waits = planned(rows="adapted fbank apc")
    names = [name for name, (_, _, words) in steps.items() if "speechrep.bin.pretrain" in words]
    assert names == ["fbank", "apc", "adapted"]
    assert len(waits) == len(at_once) + 1


def test_each_row_is_what_its_name_says(planned):
    steps, _ = planned(tasks="phone verification", seed="7")
    for name in ("apc", "apc_untrained", "phone_apc", "score_verification_apc_test"):
        assert value_of("--seed", steps[name][2]) == "7"
    assert value_of("--valid-dir", steps["apc"][2]) == "dump/features/dev"
    # Random weights even of a configuration that begins with others.
    assert "--max-steps 0 --init-from=" in " ".join(steps["apc_untrained"][2])
    assert "--max-steps" not in steps["apc"][2]
    for row, layers in (("fbank", "last"), ("apc", "last"), ("apc_layers", "all"), ("apc_average", "all")):
        assert value_of("--layers", steps[f"{row}_train"][2]) == layers
    assert "apc_finetune_train" not in steps and "score_verification_apc_finetune_test" not in steps
    train = {row: steps[f"phone_{row}"][2] for row in ROWS.split()}
    for row, command in train.items():
        kind = row if row in ("apc_layers", "apc_finetune") else ""
        assert value_of("--config", command) == f"conf/phone{kind.removeprefix('apc')}.yaml"
        assert ("--layer" in command) == (row == "apc_average")
        assert ("--pretrained=exp/t/apc" in command) == (row == "apc_finetune")
    assert value_of("--train", train["apc_finetune"]) == "dump/features/train"
    for row in ROWS.split()[:-1]:
        verified = steps[f"score_verification_{row}_test"][2]
        assert value_of("--center-on", verified) == f"dump/t/{row}/train.h5"
        assert ("--layer" in verified) == (row in ("apc_layers", "apc_average"))


def test_controls_are_those_of_rows_that_need_one(planned):
    rows = "fbank apc apc_layers apc_average apc_finetune"
    for controls, cheap, wanted in (("true", "phone", ["fbank_ctx4", "apc_untrained"]), ("true", "", []),
                                    ("false", "phone", [])):  # fmt: skip
        steps, _ = planned(rows=rows, controls=controls, cheap=cheap)
        assert {name for name in steps if name.startswith("phone_")} == {
            f"phone_{row}" for row in (*rows.split(), *wanted)
        }


def test_gpus_are_shared_out(planned):
    """A pre-training takes all, the other jobs one each, and what computes nothing none."""
    steps, at_once = planned(rows="fbank apc apc_untrained", ngpu="2", nj="4")
    assert at_once == [1, 1, 2, 2, 2, 4]
    for name, launcher, ngpu in (
        ("fbank", "cpu", "0"), ("apc", "large", "2"), ("apc_untrained", "small", "1"),
        ("apc_test", "utils/run.py", "1"), ("phone_apc", "small", "1"),
        ("decode_phone_apc_test", "utils/run.py", "1"),
    ):  # fmt: skip
        assert (steps[name][0], value_of("--ngpu", steps[name][2])) == (launcher, ngpu), name
    assert steps["score_phone_apc_test"][0] == "cpu"
    assert planned(rows="fbank apc", nj="4")[1] == [1, 4, 4, 4, 4, 4]


def test_parts_of_the_labels_have_places_and_draws_of_their_own(planned):
    steps, _ = planned(
        rows="apc", label_shares=".5 0.50 0.1", share_seeds="3 4", seed="7", split="a@train b c/d.txt@valid"
    )
    names = [f"phone_apc_{share}_s{draw}" for share in ("0.5", "0.1") for draw in "34"]
    assert [name for name in steps if name.startswith("phone_apc")] == ["phone_apc", *names]
    for name in names:
        share, draw = name.removeprefix("phone_apc_").split("_s")
        command = steps[name][2]
        assert (value_of("--train-proportion", command), value_of("--seed", command)) == (share, draw)
        scored = steps[f"score_{name}_train"][2]
        assert value_of("--seed", scored) == draw
        assert value_of("--out", scored) == f"exp/t/label_share/{share}.json"
    places = [value_of("--exp-dir", steps[name][2]) for name in ("phone_apc", *names)]
    assert len(set(places)) == 5 and places[0] == "exp/t/phone_apc"
    scored = "phone/apc/train:d-valid"
    assert steps["scored"] == [
        scored,
        *(f"{scored}@{share}#{draw}" for share in ("0.5", "0.1") for draw in "34"),
    ]
    assert value_of("--set", steps["score_phone_apc_train"][2]) == "train:d-valid"
    assert value_of("--split", steps["decode_phone_apc_train"][2]) == "c/d.txt@valid"


def test_models_of_another_experiment_are_not_trained_again(planned, tmp_path):
    """Their networks with random weights are made like them, whatever conf/ has."""
    (tmp_path / "other/apc").mkdir(parents=True)
    (tmp_path / "other/apc/model.json").touch()
    steps, _ = planned(rows="apc apc_untrained", upstream_from="other", seed="7")
    assert "apc" not in steps
    assert value_of("--upstream", steps["apc_test"][2]) == "other/apc"
    launcher, inputs, command = steps["apc_untrained"]
    assert launcher == "cpu" and {"other/apc/model.json", "other/apc/model.safetensors"} <= set(inputs)
    assert (value_of("--like", command), value_of("--seed", command)) == ("other/apc", "7")


def test_global_statistics_may_be_named_by_the_configuration(planned, tmp_path):
    (tmp_path / "conf/features.yaml").write_text("feature: fbank\ncmvn: global\nglobal-cmvn-from: other\n")
    steps, _ = planned(rows="apc")
    for name in ("more", "train"):
        assert "--global-cmvn-from" not in " ".join(steps[name][2])


def test_a_mistyped_folder_of_configurations_is_refused(tmp_path):
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    script = SETUP.replace("confdir=conf", "confdir=cnof")
    done = subprocess.run(["bash", "-c", script, "run.sh"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "--confdir: there is no folder cnof" in done.stderr


@pytest.fixture
def sourced(tmp_path):
    """What commands say after utils/recipe.sh, of a recipe with these options."""
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")

    def run(commands, **options):
        given = {"stage": 0, "stop_stage": 5, "nj": 2, "ngpu": 0, "num_nodes": 1, "backend": "local"}
        given |= {"verbose": 1, "dry_run": "true", "expdir": "exp", "tag": "t"} | options
        lines = "".join(f"{name}='{value}'\n" for name, value in given.items())
        commanders = "cpu_cmd=x pretrain_cmd=x train_cmd=x called_from=$PWD given_options=' '"
        script = f"set -euo pipefail\n{lines}{commanders}\n. utils/recipe.sh\n{commands}"
        return subprocess.run(["bash", "-c", script, "run.sh"], cwd=tmp_path, capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"stage": 3, "stop_stage": 2}, "no stage to run: stages are 0 to 5"),
        ({"stage": 6, "stop_stage": 9}, "no stage to run: stages are 0 to 5"),
        ({"stage": -2, "stop_stage": -1}, "no stage to run: stages are 0 to 5"),
        ({"stop_stage": 6}, "--stop-stage 6: stages are 0 to 5"),
        ({"nj": 0}, "--nj wants 1 or more"),
        ({"ngpu": -1}, "--ngpu wants 0 or more"),
        ({"num_nodes": 0}, "--num-nodes wants 1 or more"),
        ({"num_nodes": 2}, "--num-nodes 2 wants --backend slurm"),
    ],
)
def test_a_recipe_refuses_what_it_cannot_run(sourced, options, told):
    done = sourced("begin_recipe 5", **options)
    assert done.returncode == 2 and f"run.sh: error: {told}" in done.stderr


def test_stages_from_the_first_to_the_last_run(sourced):
    commands = "for number in 0 1 2 3 4; do if in_stage $number x; then echo $number $cmd; fi; cmd=y; done"
    assert sourced(commands, stage=1, stop_stage=3).stdout.splitlines() == ["1 x", "2 x", "3 x"]


@pytest.mark.parametrize(("dry_run", "slots"), [("false", 3), ("true", 1)])
def test_steps_run_side_by_side_but_are_foreseen_in_order(sourced, dry_run, slots):
    """What is made anew by one shows in the next; what ran is not queued again."""
    commands = """
        python() { echo "$(tr '\\0' ' ') $* ${SPEECHREP_PROGRESS-}"; }
        printf '%s\\0' 2 a b >>"$steps"
        run_steps 3
        run_steps 3"""
    for verbose, progress in ((1, ""), (0, "log")):
        done = sourced(commands, dry_run=dry_run, verbose=verbose, ngpu=1)
        options = f" utils/steps.py --slots {slots} --cores 2 --gpus 1 {progress}"
        assert done.stdout.splitlines() == [f"2 a b {options}", options], done.stderr


def test_names_of_sets_fit_into_those_of_files(sourced):
    readers = ",".join(str(number) for number in range(100, 200))
    sets = ["train-clean-100", "a b-c:1,2", f"dev:{readers}", f"dev:{readers},7"]
    plain, joined, one, other = sourced("".join(f"set_name '{one}'\n" for one in sets)).stdout.splitlines()
    assert (plain, joined) == ("train_clean_100", "a+b_c_1_2")
    assert one != other and max(len(one), len(other)) < 60 and one.startswith("dev_100_101_")


def test_stages_tell_their_times(sourced):
    assert sourced("duration 59; duration 125").stdout == "59 s\n2 min 5 s\n"


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
    for name in ("mel", "exp/apc", "data/train", "arks", "old"):
        (tmp_path / name).mkdir(parents=True)
    values = "feature: mel\npretrained: exp/apc\nother: exp/gone\nmap: w.txt\ninit-from: old\n"
    (tmp_path / "conf.yaml").write_text(values)
    for name in ("w.txt", "old/model.json"):
        (tmp_path / name).touch()
    words = [sys.executable, str(REPOSITORY / "utils/config_inputs.py"), "conf.yaml"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "exp/apc\nold/model.json\nw.txt\n"
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


def test_a_table_of_archives_that_are_gone_is_an_input_itself(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "utils")
    ready_made = importlib.import_module("config_inputs").ready_made
    table = tmp_path / "ready.scp"
    options = {"feature": "kaldi", "scp": "ready.scp"}
    assert ready_made(options, tmp_path) == {str(table)}
    table.write_text("u missing.ark:2\n")
    assert ready_made(options, tmp_path) == {str(table)}


@pytest.mark.parametrize("made", [["model.json", "model.safetensors"], ["tokenizer.json"], ["lm.arpa"], []])
def test_of_a_folder_that_was_made_what_it_is_counts(tmp_path, monkeypatch, made):
    """And not the logs and scores that are written beside it later."""
    monkeypatch.syspath_prepend(REPOSITORY / "utils")
    for name in [*made, "train_log.jsonl"]:
        (tmp_path / name).touch()
    found = importlib.import_module("config_inputs").what_is_read(str(tmp_path))
    assert found == ({str(tmp_path / name) for name in made} or {str(tmp_path)})


def test_representations_are_of_one_experiment(tmp_path):
    (tmp_path / "utils").symlink_to(REPOSITORY / "utils")
    (tmp_path / "conf").mkdir()
    for name in ("features", "apc", "asr"):
        (tmp_path / f"conf/{name}.yaml").write_text("upstream: apc\n")
    for name in ("a/t", "b/t", "a/copy"):
        (tmp_path / name).mkdir(parents=True)

    def claim(exp, stage, more=""):
        script = f"{SETUP} dry_run=false stage_number={stage} exp={exp} tag=${{exp#*/}} reps=dump/$tag {more}"
        words = ["bash", "-c", f"{script}; claim_representations", "run.sh"]
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
        return subprocess.run(["bash", "-c", script, "run.sh"], cwd=tmp_path, capture_output=True, text=True)

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
        return subprocess.run(["bash", "-c", script, "run.sh"], cwd=tmp_path, capture_output=True, text=True)

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
        done = subprocess.run(["bash", "-c", script, "run.sh"], cwd=tmp_path, capture_output=True, text=True)
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
        words = ["bash", "-c", script, "run.sh", given, folder]
        done = subprocess.run(words, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, f"{wanted}\n"), done.stderr

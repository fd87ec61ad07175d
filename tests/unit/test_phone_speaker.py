"""Phone and speaker tasks through the commands that people run, and what they refuse."""

import dataclasses
import fcntl
import itertools
import json
import multiprocessing
import re
import shutil
import threading

import numpy as np
import pytest
import torch
from downstream_data import META, make_set

from speechrep.bin import decode, score, train_downstream
from speechrep.data.features import open_features
from speechrep.downstream.base import Labelled, Loading
from speechrep.downstream.models import load_trained
from speechrep.downstream.phone import PhoneConfig
from speechrep.downstream.registry import TASKS
from speechrep.downstream.speaker import SpeakerConfig, build, labels_of, speakers_of
from speechrep.downstream.speaker_gru import SpeakerGru
from speechrep.downstream.split import part_of, reader_of, split_by_utterance
from speechrep.errors import InputError
from speechrep.io.alignment import read_ctm, write_ctm
from speechrep.io.store import StoreWriter
from speechrep.io.table import read_table, write_table
from speechrep.score.results import KEYS, add_results

QUIET = ["--max-steps", "0"]


def train(task, train_set, valid_set, exp_dir, *more):
    train_downstream.main(
        ["--task", task, "--train", str(train_set[0]), "--train-data", str(train_set[1]),
         "--valid", str(valid_set[0]), "--valid-data", str(valid_set[1]), "--exp-dir", str(exp_dir), *more]
    )  # fmt: skip


def decode_set(exp_dir, labelled, out_dir, *more):
    decode.main(
        ["--exp-dir", str(exp_dir), "--data", str(labelled[0]), "--data-dir", str(labelled[1]),
         "--out-dir", str(out_dir), *more]
    )  # fmt: skip


def score_set(task, exp_dir, out_dir, results, *more):
    score.main(
        ["--task", task, "--ref", str(out_dir / "ref"), "--hyp", str(out_dir / "hyp"), "--upstream", "fbank",
         "--features", "fbank80", "--set", "test", "--exp-dir", str(exp_dir), "--out", str(results), *more]
    )  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    return {name: make_set(folder / name, seed) for seed, name in enumerate(("train", "valid", "test"))}


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    exp_dir = tmp_path_factory.mktemp("exp") / "phone"
    train("phone", sets["train"], sets["valid"], exp_dir, *QUIET)
    return exp_dir


def test_phones_are_learnt_decoded_and_scored(sets, trained, tmp_path):
    decode_set(trained, sets["test"], tmp_path / "decode")
    score_set("phone", trained, tmp_path / "decode", tmp_path / "results.json", "--seed", "7")
    (entry,) = json.loads((tmp_path / "results.json").read_text())
    assert set(entry) == set(KEYS)
    assert (entry["task"], entry["metric"], entry["n"], entry["seed"]) == ("phone", "accuracy", 12, 7)
    assert 80 < entry["ci95"][0] < entry["value"] < entry["ci95"][1] <= 100
    hyp, ref = (read_table(tmp_path / "decode" / name) for name in ("hyp", "ref"))
    utt_id = next(iter(ref))
    assert len(hyp[utt_id].split()) == len(ref[utt_id].split())
    info = json.loads((trained / "model.json").read_text())
    assert info["task"] == "phone" and info["features"]["frame_shift_ms"] == 10.0
    for name in ("config.yaml", "model.safetensors", "train_log.jsonl", "checkpoints", "tensorboard"):
        assert (trained / name).exists()


def test_a_probe_may_also_be_trained_by_steps(sets, tmp_path):
    options = "--hidden-layers 1 --hidden-size 32 --l2 1e-5 --max-steps 60 --lr 1e-2 --grad-clip 0"
    options += " --weight-decay 0 --valid-interval 30 --save-interval 30"
    train("phone", sets["train"], sets["valid"], tmp_path / "exp", *options.split())
    lines = [json.loads(line) for line in (tmp_path / "exp" / "train_log.jsonl").read_text().splitlines()]
    accuracies = [line["accuracy"] for line in lines if line["part"] == "valid"]
    assert accuracies[-1] > accuracies[0] + 20 and accuracies[-1] > 80
    decode_set(tmp_path / "exp", sets["test"], tmp_path / "decode")


def test_a_probe_begins_by_its_seed_whatever_was_drawn_before(sets):
    labelled = Labelled(open_features(sets["train"][0]), sets["train"][1])
    config = PhoneConfig(hidden_layers=1, vectors_in_memory=60)

    def begun(seed, before):
        torch.manual_seed(before)
        return TASKS["phone"].build(config, labelled, labelled, Loading(seed=seed)).model.state_dict()

    first, same, other = begun(1, 0), begun(1, 9), begun(2, 0)
    assert all(torch.equal(value, same[name]) for name, value in first.items())
    assert not torch.equal(first["mean"], other["mean"])  # of other vectors
    assert not torch.equal(first["weights.0"], other["weights.0"])


def test_sets_and_their_parts_reach_the_task(sets, tmp_path, monkeypatch):
    seen = []

    def build(config, train, valid, loading):
        seen.append([(one.feats.path, one.data_dir, one.split) for one in (train, valid)])
        seen.append((loading.seed, loading.num_workers))
        raise InputError("enough")

    monkeypatch.setitem(TASKS, "phone", TASKS["phone"]._replace(build=build))
    words = ["--train-split", "train", "--valid-split", "valid", "--seed", "7", "--num-workers", "2"]
    with pytest.raises(InputError, match="enough"):
        train("phone", sets["train"], sets["valid"], tmp_path / "exp", *words)
    assert seen == [[(*sets["train"], "train"), (*sets["valid"], "valid")], (7, 2)]


def test_a_trained_model_is_loaded_to_be_used(trained):
    model = load_trained(trained).model
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_decoding_options_of_other_tasks_are_no_error(sets, trained, tmp_path):
    (tmp_path / "decode.yaml").write_text("method: greedy\nbeam: 4\n")
    decode_set(trained, sets["test"], tmp_path / "d", "--config", str(tmp_path / "decode.yaml"))
    with pytest.raises(SystemExit):
        decode_set(trained, sets["test"], tmp_path / "d", "--beams", "4")


@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
def test_speakers_are_recognised_on_held_out_utterances(tmp_path, pooling):
    data = make_set(tmp_path / "set", speakers=4, utts=12)
    parts = ["--train-split", "train", "--valid-split", "valid", "--pooling", pooling]
    train("speaker", data, data, tmp_path / "exp", *QUIET, *parts)
    decode_set(tmp_path / "exp", data, tmp_path / "decode", "--split", "test")
    ref, hyp = (read_table(tmp_path / "decode" / name) for name in ("ref", "hyp"))
    assert sorted(ref) == part_of({u: s.split("-")[0] for u, s in read_table(data[1] / "utt2spk").items()},
                                  "test", "")  # fmt: skip
    assert ref == {utt_id: utt_id.split("-")[0] for utt_id in ref}
    assert sum(hyp[utt_id] == speaker for utt_id, speaker in ref.items()) >= len(ref) - 1
    score_set("speaker", tmp_path / "exp", tmp_path / "decode", tmp_path / "results.json")


def test_speakers_of_frames_and_by_a_gru(tmp_path):
    data = make_set(tmp_path / "set", speakers=3, utts=12)
    parts = ["--train-split", "train+valid", "--valid-split", "test"]  # nine to one, as the paper divides
    gru = "--max-steps 80 --lr 2e-2 --valid-interval 40 --every 2 --hidden-size 16 --dropout 0.1"
    for model, more in (("frames", "--max-steps 0"), ("gru", gru)):
        exp_dir = tmp_path / model
        train("speaker", data, data, exp_dir, "--model", model, *more.split(), *parts)
        decode_set(exp_dir, data, exp_dir / "decode", "--split", "test")
        score_set("speaker", exp_dir, exp_dir / "decode", exp_dir / "results.json")
        (entry,) = json.loads((exp_dir / "results.json").read_text())
        assert entry["value"] > 75 and entry["n"] == 3
    ref = read_table(tmp_path / "frames" / "decode" / "ref")
    assert all(len(set(labels.split())) == 1 < len(labels.split()) for labels in ref.values())


def make_gru(**options):
    torch.manual_seed(0)
    return SpeakerGru(4, list("abc"), SpeakerConfig(hidden_size=8, **options), 0).eval()


def test_a_gru_speaks_after_the_last_frame_before_the_padding():
    net, lens = make_gru(every=3), torch.tensor([17, 10, 1, 3, 4, 6])
    feats = torch.randn(len(lens), 17, 4)
    for row, length in zip(feats, lens, strict=True):
        row[length:] = 1e3
    found = net(feats, lens)
    for row, length, logits in zip(feats, lens, found, strict=True):
        outputs, _ = net.gru(row[:length:3])
        torch.testing.assert_close(logits, net.output(net.hidden(outputs[-1]).relu()))


def test_dropout_in_a_gru_is_of_training_alone():
    net, lens = make_gru(dropout=0.5), torch.full((4,), 20)
    feats = torch.randn(4, 20, 4)
    assert torch.equal(net(feats, lens), net(feats, lens))
    net.train()
    assert not torch.equal(net(feats, lens), net(feats, lens))


def test_a_share_is_of_every_speaker(tmp_path):
    """One in five of each one's five, where a draw from all might leave a speaker out."""
    feats, data = make_set(tmp_path / "set", speakers=8, utts=5)
    labelled = Labelled(open_features(feats), data)
    task = build(SpeakerConfig(train_proportion=0.2, l2=(1e-3,)), labelled, labelled, Loading(seed=1))
    assert sorted(task.train.labels.tolist()) == list(range(8))


def test_speakers_with_few_utterances_may_be_left_out(tmp_path):
    data = make_set(tmp_path / "set", speakers=3, utts=6)
    labelled = Labelled(open_features(data[0]), data[1])
    assert len(set(speakers_of(labelled, 6).values())) == 3
    with pytest.raises(InputError, match="no utterance of this set"):
        speakers_of(labelled, 7)


def test_parts_of_a_set_are_disjoint_whole_and_stable():
    utt2spk = {f"{spk}-{utt:02d}": f"{spk}" for spk in "abc" for utt in range(20)} | {
        "d-00": "d",
        "d-01": "d",
    }
    parts = split_by_utterance(utt2spk)
    assert sorted(itertools.chain(*parts.values())) == sorted(utt2spk)
    for spk in "abc":
        counts = {part: sum(utt[0] == spk for utt in utt_ids) for part, utt_ids in parts.items()}
        assert counts == {"train": 16, "valid": 2, "test": 2}
    assert {"d-00", "d-01"} <= set(parts["train"])
    fewer = {utt_id: spk for utt_id, spk in utt2spk.items() if spk != "b"}  # other speakers change nothing
    assert split_by_utterance(fewer)["test"] == [u for u in parts["test"] if u[0] != "b"]
    assert part_of(utt2spk, "train+valid", "set") == sorted(parts["train"] + parts["valid"])
    with pytest.raises(InputError, match="no split 'dev'"):
        part_of(utt2spk, "dev", "set")


def test_a_split_may_be_a_list_of_utterances(tmp_path):
    utt2spk = {f"a-{i:03d}": "a" for i in range(100)}
    (tmp_path / "list.txt").write_text("".join(f"{utt}\n" for utt in [*utt2spk, "z-1"] if utt != "a-007"))
    path = str(tmp_path / "list.txt")
    assert part_of(utt2spk, path, "set") == [utt for utt in utt2spk if utt != "a-007"]
    train, valid = (set(part_of(utt2spk, f"{path}@{part}", "set")) for part in ("train", "valid"))
    assert train | valid == set(utt2spk) - {"a-007"} and not train & valid and 9 <= len(valid) <= 10
    with pytest.raises(InputError, match="no split"):
        part_of(utt2spk, f"{path}@test", "set")
    (tmp_path / "few.txt").write_text(" ".join(list(utt2spk)[:15]))  # of 13.5 S3PRL makes 13
    few = f"{tmp_path / 'few.txt'}@"
    assert [len(part_of(utt2spk, few + part, "set")) for part in ("train", "valid")] == [13, 2]
    (tmp_path / "me@home").mkdir()
    other = (tmp_path / "list.txt").rename(tmp_path / "me@home/list.txt")
    assert set(part_of(utt2spk, f"{other}@train", "set")) == train
    assert len(part_of(utt2spk, str(other), "set")) == 99


def test_other_classes_behind_the_same_names_are_refused(tmp_path):
    """Interrupted or finished: a model of these classes must not go on as one of those."""
    data = make_set(tmp_path / "set")
    train("phone", data, data, tmp_path / "exp", "--classes", "data")
    ctm = data[1] / "phones.ctm"
    words = ctm.read_text()
    old = words.split()[4]
    ctm.write_text(re.sub(rf"\b{old}$", "NEW", words, flags=re.MULTILINE))
    with pytest.raises(InputError, match="a model whose labels are others than those of the data now"):
        train("phone", data, data, tmp_path / "exp", "--classes", "data")
    ctm.write_text(words)
    train("phone", data, data, tmp_path / "exp", "--classes", "data")


def test_refuses_an_unknown_speaker(tmp_path):
    train_set = make_set(tmp_path / "train", speakers=2)
    other = make_set(tmp_path / "other", speakers=3)
    with pytest.raises(InputError, match=r"utt2spk: 102-7-0000: speaker 102 is not one of the 2"):
        train("speaker", train_set, other, tmp_path / "exp", *QUIET)
    lonely = make_set(tmp_path / "lonely", speakers=1)
    with pytest.raises(InputError, match="only one speaker"):
        train("speaker", lonely, lonely, tmp_path / "exp2", *QUIET)


def test_refuses_missing_alignments(sets, tmp_path):
    bare = make_set(tmp_path / "bare")
    (bare[1] / "phones.ctm").unlink()
    with pytest.raises(InputError, match=r"phones\.ctm: no phone alignment"):
        train("phone", bare, sets["valid"], tmp_path / "exp", *QUIET)
    gappy = make_set(tmp_path / "gappy")
    alignments = read_ctm(gappy[1] / "phones.ctm")
    write_ctm(gappy[1] / "phones.ctm", dict(list(alignments.items())[:-2]))
    with pytest.raises(InputError, match=r"2 of 12 utterances .* no alignment, first 102-7-0002"):
        train("phone", gappy, sets["valid"], tmp_path / "exp2", *QUIET)


def test_leaves_out_and_tells_a_few_unaligned_utterances(sets, tmp_path, caplog):
    gappy = make_set(tmp_path / "gappy")
    alignments = read_ctm(gappy[1] / "phones.ctm")
    write_ctm(gappy[1] / "phones.ctm", dict(list(alignments.items())[:-1]))
    train("phone", gappy, sets["valid"], tmp_path / "exp", *QUIET)
    assert "1 utterances have no alignment, first 102-7-0003" in caplog.text


def test_refuses_labels_at_another_frame_rate(sets, tmp_path):
    """10 ms features whose metadata says 12.5 ms, as when labels of one front end meet another's features."""
    wrong = make_set(tmp_path / "wrong")
    meta = dataclasses.replace(META, frame_shift_ms=12.5, config=META.config | {"frame_shift": 12.5})
    from speechrep.io.store import Store, StoreWriter

    store = Store(wrong[0])
    with StoreWriter(tmp_path / "x.h5", meta, store.utt_ids, store.num_frames.tolist()) as writer:
        for utt_id in store.utt_ids:
            writer.write(utt_id, store.read(utt_id))
    with pytest.raises(InputError, match=r"phones\.ctm: 100-7-0000: labels end .* of 12\.5 ms"):
        train("phone", (tmp_path / "x.h5", wrong[1]), (tmp_path / "x.h5", wrong[1]), tmp_path / "exp", *QUIET)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dim": 5}, "dim is 5 but .* was made for 8"),
        ({"upstream": "apc"}, "upstream is 'apc' but .* was made for ''"),
        ({"frame_shift_ms": 12.5}, r"frame_shift_ms is 12\.5 but .* was made for 10\.0"),
        ({"weights_sha256": "1" * 64}, "weights_sha256"),
    ],
)
def test_refuses_features_other_than_the_models(trained, tmp_path, change, message):
    other = make_set(tmp_path / "other", meta=dataclasses.replace(META, **change))
    with pytest.raises(InputError, match=message) as caught:
        decode_set(trained, other, tmp_path / "decode")
    assert str(trained) in str(caught.value) and str(other[0]) in str(caught.value)
    assert not (tmp_path / "decode").exists()


def test_a_finished_model_of_other_features_at_the_same_path_is_told(tmp_path):
    train("phone", *[make_set(tmp_path / "data")] * 2, tmp_path / "exp", *QUIET)
    again = make_set(tmp_path / "data", meta=dataclasses.replace(META, weights_sha256="1" * 64))
    with pytest.raises(InputError, match=r"feats\.h5: weights_sha256 .*exp was made for"):
        train("phone", again, again, tmp_path / "exp", *QUIET)
    train("phone", again, again, tmp_path / "exp", *QUIET, "--overwrite")


@pytest.mark.parametrize("task", ["phone", "speaker"])
def test_refuses_to_validate_on_other_features(sets, tmp_path, task):
    other = make_set(tmp_path / "other", meta=dataclasses.replace(META, upstream="apc"))
    with pytest.raises(InputError, match=r"upstream is 'apc' but .* was made for ''") as caught:
        train(task, sets["train"], other, tmp_path / "exp", *QUIET)
    assert str(sets["train"][0]) in str(caught.value) and str(other[0]) in str(caught.value)


def test_refuses_a_set_without_common_utterances(sets, tmp_path):
    data = make_set(tmp_path / "data")
    write_table(data[1] / "utt2spk", {"someone-1": "someone"})
    with pytest.raises(InputError, match=r"no features for utterance someone-1 .* 1 absent in all"):
        train("phone", data, sets["valid"], tmp_path / "exp", *QUIET)


def test_refuses_to_score_with_the_wrong_model(trained, tmp_path):
    write_table(tmp_path / "ref", {"u": "a"})
    write_table(tmp_path / "hyp", {"u": "a"})
    with pytest.raises(InputError, match="a model of task 'phone', not 'speaker'"):
        score_set("speaker", trained, tmp_path, tmp_path / "results.json")
    assert not (tmp_path / "results.json").exists()


def test_only_readers_of_librispeech_have_chapters():
    assert [reader_of(name) for name in ("19-198", "lbi-19-8", "spk-01", "0-4Djl4", "-3g5yAC", "25522")] == [
        "19", "19", "spk-01", "0-4Djl4", "-3g5yAC", "25522",
    ]  # fmt: skip


def result(value, **changes):
    base = dict.fromkeys(KEYS, "x") | {"value": value, "ci95": [0.0, 1.0], "n": 3, "seed": 1}
    return base | changes


def test_results_renew_their_own_entry(tmp_path):
    path = tmp_path / "results.json"
    add_results(path, [result(1.0), result(2.0, task="y", checkpoint="c")])
    add_results(path, [result(3.0)])
    assert [entry["value"] for entry in json.loads(path.read_text())] == [3.0, 2.0]  # in its old place
    add_results(path, [result(4.0, seed=2, checkpoint="other")])  # another seed stands beside the first
    add_results(path, [result(5.0, seed=3)])  # the same checkpoint trained anew with another seed
    assert sorted(entry["value"] for entry in json.loads(path.read_text())) == [2.0, 4.0, 5.0]
    add_results(path, [result(6.0, task="the same, decoded otherwise")])  # score --name
    assert sorted(entry["value"] for entry in json.loads(path.read_text())) == [2.0, 4.0, 5.0, 6.0]
    add_results(path, [result(7.0, seed=3, metric="another")])  # what was not had this time is an old model's
    assert sorted(entry["value"] for entry in json.loads(path.read_text())) == [2.0, 4.0, 6.0, 7.0]
    path.write_text("{}")
    with pytest.raises(InputError, match=r"results\.json: not a list"):
        add_results(path, [result(1.0)])


def add_many(path, worker):
    for i in range(10):
        add_results(path, [result(float(i), task=f"{worker}-{i}", checkpoint=f"{worker}-{i}")])


def test_several_processes_lose_no_result(tmp_path):
    path = tmp_path / "results.json"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=add_many, args=(path, worker)) for worker in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(json.loads(path.read_text())) == 40


def test_results_wait_for_who_is_adding_others(tmp_path):
    path = tmp_path / "results.json"
    adding = threading.Thread(target=add_results, args=(path, [result(1.0)]))
    with open(tmp_path / ".results.json.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        adding.start()
        adding.join(0.3)
        assert adding.is_alive() and not path.exists()
    adding.join(60)
    assert path.exists()


def without_features(data, folder, count):
    """A set of which ``count`` utterances more have labels than have features."""
    shutil.copytree(data[1], folder)
    for name in ("utt2spk", "phones.ctm"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        mine = [line for line in lines if line.startswith("100-7-0000")]
        more = [line.replace("0000", f"9{i:03}", 1) for i in range(count) for line in mine]
        (folder / name).write_text("".join(sorted(lines + more)))
    return folder / "feats.h5", folder


@pytest.mark.parametrize("task", ["phone", "speaker"])
def test_utterances_without_features_are_not_passed_over(tmp_path, task, caplog):
    """Of a set to train on one in twenty may lack them; of a set to score none."""
    data = make_set(tmp_path / "set", utts=13)
    lacking, too_much = (without_features(data, tmp_path / str(count), count) for count in (2, 3))
    train(task, lacking, data, tmp_path / "exp", *QUIET)
    assert "no features for 2 of 41 utterances" in caplog.text
    for labelled, words in ((too_much, (data,)), (data, (too_much,))):
        with pytest.raises(InputError, match=r"no features for utterance 100-7-9000 .* 3 absent in all"):
            train(task, labelled, *words, tmp_path / "other", *QUIET)
    with pytest.raises(InputError, match=r"no features for utterance 100-7-9000 .* 2 absent in all"):
        decode_set(tmp_path / "exp", lacking, tmp_path / "decode")
    if task == "speaker":  # of a set to train on a part is scored
        for part in ("train", "valid", "test"):
            decode_set(tmp_path / "exp", lacking, tmp_path / part, "--split", part)


def test_min_utts_is_of_the_training_set(tmp_path, caplog):
    """Whom it leaves out there is left out elsewhere too; who is known may have fewer utterances there."""
    data, other = make_set(tmp_path / "set", utts=6), make_set(tmp_path / "other", seed=1, speakers=4, utts=3)
    few = [line for line in (data[1] / "utt2spk").read_text().splitlines(keepends=True) if "102-" not in line]
    (data[1] / "utt2spk").write_text("".join([*few, "102-7-0000 102-7\n"]))
    with StoreWriter(tmp_path / "f.h5", META, [u.split()[0] for u in few], [9] * len(few)) as writer:
        for line in few:
            writer.write(line.split()[0], np.zeros((9, META.dim), np.float32))
    here, there = (
        Labelled(open_features(tmp_path / "f.h5"), data[1]),
        Labelled(open_features(other[0]), other[1]),
    )
    people = sorted(set(speakers_of(here, 6).values()))
    assert people == ["100", "101"]
    assert set(labels_of(there, people, 6)) == {f"{p}-7-{i:04}" for p in people for i in range(3)}
    assert "left out 6 of 12 utterances, of speakers whom the model does not know, first 102-7" in caplog.text
    with pytest.raises(InputError, match="102-7-0000: speaker 102 is not one of the 2 the model knows"):
        labels_of(there, people, 0)
    with pytest.raises(InputError, match="is not one of the 1 the model knows"):
        labels_of(there, ["elsewhere"], 6)


def test_sets_without_a_frame_that_counts_are_refused(sets, tmp_path):
    data = make_set(tmp_path / "set")
    path = data[1] / "phones.ctm"
    path.write_text(re.sub(r"\S+$", "SPN", path.read_text(), flags=re.MULTILINE))
    for pair in ((data, sets["valid"]), (sets["train"], data)):
        with pytest.raises(InputError, match=r"phones\.ctm: no frame has one of the classes"):
            train("phone", *pair, tmp_path / "exp", *QUIET)

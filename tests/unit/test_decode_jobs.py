"""Decoding shared out among jobs gives the files of one process, and redoes only what failed or changed."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from downstream_data import make_set

from speechrep import progress
from speechrep.bin import decode, train_downstream
from speechrep.bin.jobs import run_launcher, run_local
from speechrep.errors import InputError
from speechrep.io.model_files import write_model
from speechrep.io.table import read_table, write_table

RUN = f"{sys.executable} {Path(__file__).parents[2] / 'utils/run.py'}"
SMALL = {
    "phone": "--max-steps 0 --l2 1e-2",
    "asr": "--hidden-size 8 --num-layers 1 --stack 2 --max-frames 400 --max-steps 4 --valid-interval 4",
}
TEXTS = ("hyp", "ref", "nbest")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    feats, data = make_set(tmp_path_factory.mktemp("set"), utts=5)
    ids = list(read_table(data / "utt2spk"))
    write_table(data / "text", {utt_id: "AB"[i % 2] * (1 + i % 3) for i, utt_id in enumerate(ids[:-1])})
    return feats, data


@pytest.fixture(scope="module")
def trained(labelled, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exp")
    feats, data = map(str, labelled)
    sets = ["--train", feats, "--train-data", data, "--valid", feats, "--valid-data", data]
    for task, words in SMALL.items():
        train_downstream.main(["--task", task, *sets, "--exp-dir", str(folder / task), *words.split()])
    return folder


@pytest.fixture
def run(labelled, trained, tmp_path):
    def call(out, *more, task="asr"):
        words = ["--exp-dir", trained / task, "--data", labelled[0], "--data-dir", labelled[1]]
        search = ["--max-frames", "150", "--beam", "4", "--nbest", "3"] if task == "asr" else []
        decode.main([*map(str, words), "--out-dir", str(tmp_path / out), *search, *more])
        return tmp_path / out

    return call


@pytest.fixture
def here(monkeypatch):
    """Jobs run in this process; the list of those that decoded."""
    decoded, really = [], decode._decode

    def note(args, share, folder):
        decoded.append(args.job)
        really(args, share, folder)

    def run_here(_module, words, jobs, _log, _progress):
        for job in jobs:
            decode.main([*words, "--job", str(job)])

    monkeypatch.setattr(decode, "_decode", note)
    monkeypatch.setattr(decode, "run_local", run_here)
    return decoded


def test_all_options_from_a_file(run, trained, labelled, tmp_path):
    one = run("one")
    lines = {"exp-dir": trained / "asr", "data": labelled[0], "data-dir": labelled[1], "beam": 4, "nbest": 3}
    lines |= {"max-frames": 150, "out-dir": tmp_path / "file"}
    (tmp_path / "all.yaml").write_text("".join(f"{name}: {value}\n" for name, value in lines.items()))
    decode.main(["--config", str(tmp_path / "all.yaml")])
    assert (tmp_path / "file/nbest").read_text() == (one / "nbest").read_text()


def test_a_part_of_a_set_without_transcripts(run, here, labelled):
    whole = read_table(run("whole") / "ref")
    part = read_table(run("part", "--split", "train") / "hyp")
    (labelled[1] / "text").rename(labelled[1] / "text.away")
    try:
        silent = run("part", "--split", "train", "--nj", "2")  # where there were transcripts before
    finally:
        (labelled[1] / "text.away").rename(labelled[1] / "text")
    found = read_table(silent / "hyp")
    assert part.items() <= found.items() and len(found) < len(whole)
    assert not (silent / "ref").exists()


def test_a_language_model_that_no_method_uses_is_refused(run):
    with pytest.raises(InputError, match=r"--lm: greedy uses no language model \(--method beam does\)"):
        run("out", "--method", "greedy", "--lm", "exp/lm")


def test_jobs_give_the_files_of_one_process(run, here, labelled, capsys):
    one = run("one")
    assert "14/14 utterances, " in capsys.readouterr().err
    texts = [(one / name).read_text() for name in TEXTS]
    assert texts[1] == (labelled[1] / "text").read_text() and len(set(texts[0].split())) > 14
    scores = json.loads((one / "scores.json").read_text())
    for nj in ("3", "17"):  # more jobs than batches, too
        many = run(nj, "--nj", nj)
        assert [(many / name).read_text() for name in TEXTS] == texts
        merged = json.loads((many / "scores.json").read_text())
        assert merged["utterances"] == scores["utterances"] and merged["real_time_factor"] > 0
        assert list(merged["utterances"]) == sorted(merged["utterances"])
        assert merged["audio_seconds"] == pytest.approx(scores["audio_seconds"])
        assert sorted(path.name for path in many.iterdir()) == sorted([*TEXTS, "scores.json"])
    assert here == [0, 1, 2, 3, *range(1, 18)]


def test_a_failed_job_is_redone_alone(run, here, monkeypatch, tmp_path):
    whole, really = run("one"), decode.TASKS["asr"].decode
    calls = []

    def fail_once(*words):
        calls.append(words)
        if len(calls) == 2:
            raise InputError("the disk is full")
        really(*words)

    monkeypatch.setitem(decode.TASKS, "asr", decode.TASKS["asr"]._replace(decode=fail_once))
    monkeypatch.setattr("speechrep.downstream.models.TASKS", decode.TASKS)
    with pytest.raises(InputError, match="the disk is full"):
        run("two", "--nj", "3")
    assert not (tmp_path / "two/hyp").exists()
    here.clear()
    two = run("two", "--nj", "3")
    assert here == [2, 3]
    assert [(two / name).read_text() for name in TEXTS] == [(whole / name).read_text() for name in TEXTS]


@pytest.mark.parametrize("name", ["hyp", "nbest", "ref", "scores.json", "done.json"])
def test_a_job_whose_files_are_damaged_is_redone(run, here, tmp_path, name):
    whole = run("whole", "--nj", "2")
    run("out", "--nj", "2", "--job", "1")
    file = tmp_path / "out/jobs/1" / name
    file.write_bytes(file.read_bytes().replace(b"1", b"7", 1) + b"\n")
    here.clear()
    out = run("out", "--nj", "2")
    assert here == [1, 2]
    assert [(out / text).read_text() for text in TEXTS] == [(whole / text).read_text() for text in TEXTS]


def test_what_was_decoded_from_other_files_or_options_is_not_kept(run, here, labelled):
    text = labelled[1] / "text"
    run("out", "--nj", "2", "--job", "1")
    run("out", "--nj", "2", "--job", "1")
    assert here == [1]
    left = run("out", "--nj", "2", "--job", "1") / "jobs/1/left"
    left.touch()
    run("out", "--nj", "2", "--job", "1", "--length-bonus", "0.5")
    assert not left.exists()
    os.utime(text, ns=(0, text.stat().st_mtime_ns + 1))
    run("out", "--nj", "2", "--job", "1", "--length-bonus", "0.5")
    assert here == [1, 1, 1]


def test_a_job_that_left_nothing_is_told(run, monkeypatch):
    monkeypatch.setattr(decode, "run_local", lambda *words: None)
    with pytest.raises(InputError, match=r"jobs/1: was not decoded \(run the same again\)"):
        run("out", "--nj", "2")
    with pytest.raises(InputError, match="--nj: want 1 or more, got 0"):
        run("out", "--nj", "0")
    with pytest.raises(InputError, match="--job: want one of 1 to 2, got 3"):
        run("out", "--nj", "2", "--job", "3")


@pytest.mark.parametrize(("task", "count"), [("asr", 14), ("phone", 15)])
def test_a_log_tells_how_far_it_is(run, task, count, monkeypatch, capsys):
    monkeypatch.setattr(progress, "IN_LOG_S", 0.0)
    run("out", task=task)
    shares = re.findall(rf"^(\d+)/{count} utterances, [\d.]+/s, \d+ s left$", capsys.readouterr().err, re.M)
    assert len(shares) > 2 and shares == sorted(shares, key=int)


def test_local_jobs_tell_how_far_they_are(run, capsys):
    run("out", "--nj", "2")
    assert "14/14 utterances, " in capsys.readouterr().err
    run("part", "--nj", "2", "--job", "1")
    run("part", "--nj", "2")  # the first job is done, and tells nothing
    assert re.search(r"^(\d+)/\1 utterances, ", capsys.readouterr().err, re.M)


def test_through_a_launcher(run):
    """An array where the task is worth it, else one job."""
    one, two = run("one"), run("two", "--nj", "2", "--cmd", RUN)
    phones = [run(out, *more, task="phone") for out, more in [("p", []), ("q", ["--nj", "2", "--cmd", RUN])]]
    for name in ("hyp", "ref"):
        assert (two / name).read_text() == (one / name).read_text()
        assert (phones[0] / name).read_text() == (phones[1] / name).read_text()
    assert not list(two.parent.glob("*/jobs"))
    with pytest.raises(InputError, match=r"the launcher ended with status 1") as error:
        run("bad", "--cmd", RUN, "--split", "nobody", task="phone")
    log = Path(str(error.value).split(":")[0].replace("*", "1"))
    assert "no split 'nobody'" in log.read_text()


def test_a_jobs_result_is_of_its_options_and_of_every_file_that_is_read(tmp_path):
    write_model(tmp_path / "exp", {"w": np.zeros(1, np.float32)}, {"task": "asr", "kind": "downstream"})
    files = [tmp_path / "exp/model.safetensors", tmp_path / "exp/model.json", tmp_path / "feats.h5",
             tmp_path / "data/text", tmp_path / "part", tmp_path / "lm/lm.arpa"]  # fmt: skip
    for path in files[2:]:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")

    def state(**changed):
        told = {"exp-dir": "exp", "data": "feats.h5", "data-dir": "data", "split": "part", "lm": "lm"}
        words = [f"--{name}={tmp_path / value}" for name, value in told.items()]
        words += ["--method=beam", f"--out-dir={tmp_path}/out", "--nj=2"]
        return decode._state(
            decode._parse([*words, *(f"--{name}={value}" for name, value in changed.items())])[0]
        )

    before = state()
    assert state(job=1) == state(cmd="run.py") == before
    for changed in ({"nj": 3}, {"split": "train"}, {"beam": 4}, {"ngpu": 1}):
        assert state(**changed) != before, changed
    assert state(split="train") != state(split="valid")
    for path in files:
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 10**9))
        assert state() != before, path
        before = state()


JOB = """
import os, sys, time
print(os.environ["OMP_NUM_THREADS"], sys.argv[1:], file=sys.stderr)
print("progress 3 5", flush=True)
time.sleep(0.3)
if "die" in sys.argv and sys.argv[-1] == "2":
    os.kill(os.getpid(), 9)
"""


class Counts(progress.Progress):
    """Remembers what it was told."""

    def update(self, done):
        self.told = [*getattr(self, "told", []), done]


def test_local_jobs_have_a_thread_each_and_count_on_from_what_is_done(tmp_path, monkeypatch):
    (tmp_path / "one_job.py").write_text(JOB)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    counts, before = Counts(10, "utterances", 4), signal.getsignal(signal.SIGTERM)

    def log(job):
        return tmp_path / f"log/{job}.log"

    run_local("one_job", ["a b"], (1, 2), log, counts)
    assert [log(job).read_text() for job in (1, 2)] == [f"1 ['a b', '--job', '{job}']\n" for job in (1, 2)]
    assert set(counts.told) <= {4, 7, 10} and counts.told[-1] == 10  # whichever was seen on the way
    with pytest.raises(InputError, match=r"log/2\.log: job 2 was killed by signal 9: .* \(1 of 2 failed\)"):
        run_local("one_job", ["die"], (1, 2), log, Counts(10, "utterances"))
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_launcher_has_its_own_options_and_gives_jobs_a_thread(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    (tmp_path / "my tools").mkdir()
    launcher = tmp_path / "my tools/launch"
    launcher.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$OMP_NUM_THREADS" "$@" >"$1"\n')
    launcher.chmod(0o755)
    told = tmp_path / "told"
    run_launcher(f"'{launcher}' {told} --mem '4 G'", "some.module", ["x y"], 3, lambda job: f"log/{job}.log")
    assert told.read_text().splitlines() == [
        "1", str(told), "--mem", "4 G", "SPEECHREP_JOB=1:3", "log/SPEECHREP_JOB.log", sys.executable, "-m",
        "some.module", "x y", "--job", "SPEECHREP_JOB",
    ]  # fmt: skip

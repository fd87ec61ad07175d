"""utils/step.py: what is done is not done again, what changed is, what was interrupted goes on."""

import fcntl
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

STEP = Path(__file__).parents[2] / "utils" / "step.py"
# Appends to out/count each time it runs; that the folder is fresh or kept shows in the number of lines.
COUNT = "echo run >>out/count; cat input >out/result"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "input").write_text("a")
    (tmp_path / "conf.yaml").write_text("lr: 1\n")
    return tmp_path


def words(*more: str, script: str = COUNT) -> list[str]:
    step = ["--marker", ".done/make", "--log", "logs/make.log", "--in", "input", "conf.yaml"]
    step += ["--out", "out/result", "--own", "out", *more]
    return [sys.executable, str(STEP), *step, "--", "bash", "-c", f"mkdir -p out; {script}"]


def run(
    folder: Path, *more: str, script: str = COUNT, env: dict | None = None
) -> subprocess.CompletedProcess:
    return subprocess.run(
        words(*more, script=script), cwd=folder, capture_output=True, text=True, timeout=60, env=env
    )


def run_changed(folder: Path, change: str, *more: str, script: str = COUNT) -> subprocess.CompletedProcess:
    """The same by a step.py in which something is otherwise."""
    program = f"import sys; sys.path.insert(0, {str(STEP.parent)!r}); import step\n{change}\nstep.main()"
    command = [sys.executable, "-c", program, *words(*more, script=script)[2:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def runs(folder: Path) -> int:
    return (folder / "out/count").read_text().count("run")


def test_runs_once(folder):
    first, second = run(folder), run(folder)
    assert "make: runs: first time" in first.stderr
    assert "make: done in " in first.stderr
    assert second.stderr.endswith("make: up to date\n")
    assert (first.returncode, second.returncode, runs(folder)) == (0, 0, 1)
    marker = json.loads((folder / ".done/make").read_text())
    assert marker["outputs"] == ["out/result"]
    assert marker["seconds"] >= 0


def test_a_long_step_tells_how_far_it_is(folder):
    script = "echo 2026-11-27T10:00:00 train: step 3/9 eta 0:01:00; sleep 2; echo x >out/result"
    done = run_changed(folder, "step.NEWS_S = 0.5", script=script)
    told = [line for line in done.stderr.splitlines() if line.endswith(" s: train: step 3/9 eta 0:01:00")]
    assert done.returncode == 0 and 1 <= len(told) <= 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "input").write_text("b"), "input input changed"),
        (lambda folder: (folder / "conf.yaml").write_text("lr: 2\n"), "input conf.yaml changed"),
        (lambda folder: (folder / "out/result").unlink(), "output out/result is missing"),
        (lambda folder: (folder / ".done/make").write_text("{"), "first time"),
        (lambda folder: (folder / ".done/make").write_text('{"command": [1], "inputs": {}}'), "first time"),
        (lambda folder: (folder / ".done/make").write_text('{"command": [], "inputs": [1]}'), "first time"),
    ],
)
def test_runs_again_afresh_and_says_why(folder, change, why):
    run(folder)
    change(folder)
    again = run(folder)
    assert f"make: runs: {why}\n" in again.stderr
    assert runs(folder) == 1  # in a folder of its own: what was there was moved aside
    whole = "missing" not in why
    assert f"out {'was made differently' if whole else 'is not whole'}: moved to" in again.stderr
    assert (folder / ("out.old" if whole else "out.unfinished.old") / "count").exists()
    assert run(folder).stderr.endswith("up to date\n")


def test_a_changed_command_tells_what_changed(folder):
    run(folder)
    again = run(folder, script=COUNT.replace("cat", "cp /dev/null out/x; cat"))
    assert "make: runs: command changed: -c " not in again.stderr  # one-letter options are no names
    assert "make: runs: command changed: " in again.stderr


def test_an_input_more_or_less_is_a_change(folder):
    for name in ("more", "other"):
        (folder / name).touch()
    run(folder, "--in", "more")
    assert "runs: input more is gone\n" in run(folder).stderr
    assert "runs: input other is new\n" in run(folder, "--in", "other").stderr


def test_how_much_is_told_is_the_callers_choice(folder):
    """Failures are told in any case, and so is what was asked to be foreseen."""
    (folder / "foreseen").touch()
    environment = os.environ | {"SPEECHREP_DRY_RUN": str(folder / "foreseen")}
    dry = run(folder, "--dry-run", "true", "--verbose", "0", env=environment)
    assert "would run: first time" in dry.stderr
    assert "make: failed after " in run(folder, "--verbose", "0", script="exit 3").stderr
    assert run(folder, "--verbose", "0").stderr == ""
    for number, shown in ((1, False), (2, True)):
        (folder / "input").write_text(str(number))
        told = run(folder, "--verbose", str(number)).stderr
        assert "runs: input input changed\n" in told and ("\n    bash -c " in told) == shown


def test_option_change_is_named(folder):
    base = [sys.executable, str(STEP), "--marker", "m", "--log", "l", "--", "echo", "--lr", "1", "--nj", "2"]
    for command, told in [
        (base, "first time"),
        ([*base[:-3], "3", "--nj", "2"], "command changed: --lr 1 -> 3"),
        ([*base[:-3], "3", "--nj", "8"], "up to date"),  # how many jobs share the work changes no result
        ([*base[:-3], "3", "--nj", "8", "--ngpu", "1", "--cmd", "x y"], "up to date"),  # nor where they run
        ([*base[:-3], "3", "--residual", "true"], "command changed: nothing -> --residual true"),
    ]:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        assert told in done.stderr


def test_a_comment_an_order_or_a_new_time_changes_nothing(folder):
    (folder / "conf.yaml").write_text("lr: 1\nsteps: 2\n")
    run(folder)
    (folder / "conf.yaml").write_text("# faster\nsteps: 2\nlr: 1\n")
    os.utime(folder / "input")
    assert run(folder).stderr.endswith("up to date\n")


def test_a_folder_as_input(folder):
    (folder / "data/deep").mkdir(parents=True)
    (folder / "data/deep/x").write_text("1")
    more = ["--in", "data"]
    run(folder, *more)
    (folder / "data/.hidden").write_text("no matter")
    assert run(folder, *more).stderr.endswith("up to date\n")
    (folder / "data/deep/x").write_text("2")
    assert "runs: input data changed" in run(folder, *more).stderr
    (folder / "data/deep/y").write_text("")
    assert "runs: input data changed" in run(folder, *more).stderr
    (folder / "data/deep").rename(folder / "data/other")
    assert "runs: input data changed" in run(folder, *more).stderr
    (folder / "data/nowhere").symlink_to("absent")  # counts by its name
    assert "runs: input data changed" in run(folder, *more).stderr
    assert run(folder, *more).stderr.endswith("up to date\n")


def test_a_large_file_is_known_by_size_and_time(folder):
    (folder / "input").touch()
    os.truncate(folder / "input", 65_000_000)
    run(folder)
    assert run(folder).stderr.endswith("up to date\n")
    os.utime(folder / "input")
    assert "runs: input input changed" in run(folder).stderr


def test_failure_shows_the_end_of_the_log_and_keeps_the_status(folder):
    failed = run(folder, script="seq 30; echo broken; exit 9")
    assert failed.returncode == 9
    assert "    broken\n" in failed.stderr
    assert "    5\n" not in failed.stderr  # only the end
    assert failed.stderr.endswith("log: logs/make.log\n")
    assert not (folder / ".done/make").exists()


def test_a_launcher_that_is_killed_is_a_failure_like_a_shells(folder):
    """The command is what another launcher is given; a log that tells no end leaves the launcher's own."""
    launcher = "bash -c 'echo \"$@\" >given; kill -9 $$' x"
    assert run(folder, "--cmd", launcher, script="true").returncode == 128 + signal.SIGKILL
    assert (folder / "given").read_text() == "logs/make.log bash -c mkdir -p out; true\n"


def test_a_full_disk_of_the_log_is_told(folder):
    """The command's own word on it may not have reached the log."""
    for blocks, told in ((3, True), (4, False)):
        change = f"step.os.statvfs = lambda _: step.argparse.Namespace(f_bavail={blocks}, f_frsize=4096)"
        failed = run_changed(folder, change, script="exit 1")
        assert ("no space left on the disk of the log" in failed.stderr) == told


def test_a_failed_step_asked_for_again_goes_on_with_what_it_left(folder):
    script = COUNT + "; [ -e mended ]"
    assert run(folder, script=script).returncode == 1
    (folder / "mended").touch()
    again = run(folder, script=script)
    assert "first time; goes on where it was interrupted" in again.stderr
    assert (again.returncode, runs(folder)) == (0, 2)


def test_an_interrupted_step_that_changed_starts_afresh(folder):
    run(folder, script=COUNT + "; exit 1")
    (folder / "conf.yaml").write_text("lr: 3\n")
    assert run(folder).returncode == 0
    assert runs(folder) == 1


def test_a_slip_in_a_configuration_costs_nothing(folder):
    script = COUNT + "; [ ! -e slip ]"
    run(folder, script=script)
    made = (folder / "out/result").stat().st_ino
    for slip in ("lr: 2\n", "lr: 3\n"):
        (folder / "conf.yaml").write_text(slip)
        (folder / "slip").touch()
        assert run(folder, script=script).returncode == 1
        assert (folder / "out.old/result").stat().st_ino == made
    (folder / "conf.yaml").write_text("lr: 1\n")
    assert run(folder, script=script).stderr.endswith(
        "make: up to date: made so before, taken back from .old\n"
    )
    assert (folder / "out/result").stat().st_ino == made
    assert (folder / "out.unfinished.old").exists() and not (folder / "out.old").exists()
    assert run(folder, script=script).stderr.endswith("make: up to date\n")
    (folder / "conf.yaml").write_text("lr: 3\n")  # was begun, but elsewhere than what is there now
    (folder / "slip").unlink()
    again = run(folder, script=script)
    assert "goes on" not in again.stderr and again.returncode == 0 and runs(folder) == 1


def test_to_and_fro_between_two_that_are_done(folder):
    script = COUNT + "; echo run >>all"
    for lr in (1, 2, 1, 2, 2, 1):
        (folder / "conf.yaml").write_text(f"lr: {lr}\n")
        assert run(folder, script=f"{script}; cp conf.yaml out").returncode == 0
        assert (folder / "out/conf.yaml").read_text() == f"lr: {lr}\n"
    assert (folder / "all").read_text() == "run\nrun\n"
    (folder / "out.old/result").unlink()  # then it is no longer all that was made
    (folder / "conf.yaml").write_text("lr: 2\n")
    assert "runs: input conf.yaml changed" in run(folder, script=f"{script}; cp conf.yaml out").stderr


@pytest.mark.parametrize("place", range(8))
def test_a_kill_between_two_renames_of_an_exchange_loses_neither(folder, place):
    """What was asked for is there, with its marker, after the same command again."""
    more, script = ["--own", "more"], f"{COUNT}; mkdir -p more; cp conf.yaml out; cp conf.yaml more"
    for lr in (1, 2):
        (folder / "conf.yaml").write_text(f"lr: {lr}\n")
        assert run(folder, *more, script=script).returncode == 0
    killed = f"""
renames, real = [], step.Path.rename
def rename(path, target):
    renames.append(path)
    if len(renames) > {place}:
        raise OSError("killed")
    return real(path, target)
step.Path.rename = step.Path.replace = rename
"""
    (folder / "conf.yaml").write_text("lr: 1\n")
    assert run_changed(folder, killed, *more, script=script).returncode == 1
    assert not (folder / ".done/make").exists()
    again = run(folder, *more, script=script)
    assert again.stderr.endswith("make: up to date\n") or "taken back from .old" in again.stderr
    for name in ("out", "more"):
        assert (folder / name / "conf.yaml").read_text() == "lr: 1\n"
    assert runs(folder) == 1 and not list(folder.rglob("*.between"))
    assert run(folder, *more, script=script).stderr.endswith("make: up to date\n")


def test_killed_while_it_sets_aside_nothing_vouches_for_what_lies_there(folder):
    script = f"{COUNT}; cp conf.yaml out"
    for lr in (1, 2):
        (folder / "conf.yaml").write_text(f"lr: {lr}\n")
        assert run(folder, script=script).returncode == 0
    (folder / "conf.yaml").write_text("lr: 3\n")
    assert run_changed(folder, "step.Path.replace = None", script=script).returncode == 1
    assert (folder / "out.old/conf.yaml").read_text() == "lr: 2\n"
    (folder / "conf.yaml").write_text("lr: 1\n")
    assert run(folder, script=script).returncode == 0
    assert (folder / "out/conf.yaml").read_text() == "lr: 1\n"


def test_a_folder_that_was_put_elsewhere_is_moved_aside_twice(folder):
    for lr in (1, 2, 3):
        (folder / "conf.yaml").write_text(f"lr: {lr}\n")
        assert run(folder).returncode == 0
        (folder / "out").rename(folder / f"disk{lr}")
        (folder / "out").symlink_to(folder / f"disk{lr}")
    assert runs(folder) == 1 and (folder / "out.old").resolve() == folder / "disk2"


def test_what_lost_an_output_takes_no_finished_ones_place(folder):
    script = f"{COUNT}; cp conf.yaml out"
    for lr in (1, 2):
        (folder / "conf.yaml").write_text(f"lr: {lr}\n")
        assert run(folder, script=script).returncode == 0
    (folder / "out/result").unlink()  # as is told to do with a damaged one
    assert "out/result is missing" in run(folder, script=script).stderr
    (folder / "conf.yaml").write_text("lr: 1\n")
    assert "taken back from .old" in run(folder, script=script).stderr
    assert (folder / "out/conf.yaml").read_text() == "lr: 1\n"


def test_what_lost_a_sealed_file_takes_no_finished_ones_place(folder):
    """Nor is it taken back."""
    first, second = (f"{COUNT}; echo {name} >out/more" for name in "ab")
    assert run(folder, "--sealed", "out", script=first).returncode == 0
    assert run(folder, "--sealed", "out", script=second).returncode == 0
    (folder / "out/more").unlink()
    assert run(folder, "--sealed", "out", script=f"{COUNT}; echo c >out/more").returncode == 0
    assert "taken back from .old" in run(folder, "--sealed", "out", script=first).stderr
    assert (folder / "out/more").read_text() == "a\n"
    (folder / "out.old/more").unlink()
    assert "taken back" not in run(folder, "--sealed", "out", script=f"{COUNT}; echo c >out/more").stderr


def test_dry_run_foresees_that_it_would_be_taken_back(folder):
    environment = os.environ | {"SPEECHREP_DRY_RUN": str(folder / "foreseen")}
    (folder / "foreseen").touch()
    for lr in (1, 2, 1):
        (folder / "conf.yaml").write_text(f"lr: {lr}\n")
        dry = run(folder, "--dry-run", "true", env=environment)
        if not (folder / "out.old").exists():
            run(folder)
    assert dry.stderr.endswith("make: would be taken back from .old: made so before\n")
    assert (folder / "foreseen").read_text().endswith("out/result\nout\n")
    assert "taken back" in run(folder).stderr


def test_a_missing_output_is_a_failure(folder):
    done = run(folder, script="true")
    assert done.returncode == 1
    assert "the command succeeded but did not write out/result" in done.stderr
    assert not (folder / ".done/make").exists()


def test_every_output_counts(folder):
    more, script = ["--out", "out/other"], COUNT + "; touch out/other"
    assert run(folder, *more, script=script).returncode == 0
    (folder / "out/other").unlink()
    assert "output out/other is missing" in run(folder, *more, script=script).stderr
    lazy = run(folder, *more)
    assert lazy.returncode == 1 and "did not write out/other" in lazy.stderr


def test_what_has_an_output_elsewhere_is_not_taken_back(folder):
    """Only what lies within a folder of the step's own is moved aside with it."""
    for lr in (1, 2, 1):
        (folder / "conf.yaml").write_text(f"lr: {lr}\n")
        assert run(folder, "--out", "other", script=f"{COUNT}; cp conf.yaml other").returncode == 0
    assert (folder / "other").read_text() == "lr: 1\n"


def test_nothing_vouches_for_what_a_failed_change_left(folder):
    step = ["--marker", "m", "--log", "l", "--out", "result", "--", "bash", "-c"]
    scripts = ["echo whole >result", "echo half >result; false", "echo whole >result"]
    done = [
        subprocess.run([sys.executable, str(STEP), *step, script], cwd=folder, capture_output=True)
        for script in scripts
    ]
    assert [one.returncode for one in done] == [0, 1, 0]
    assert (folder / "result").read_text() == "whole\n"


def test_a_missing_input_is_named(folder):
    (folder / "input").unlink()
    done = run(folder)
    assert done.returncode == 1
    assert "step.py: make: error: input: input is missing" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt(folder, number):
    script = "trap 'sleep 0.3; echo told >told; exit 0' INT TERM; echo up >up; while :; do sleep 0.05; done"
    process = subprocess.Popen(words(script=script), cwd=folder, stderr=subprocess.DEVNULL)
    wait_for(folder / "up")
    process.send_signal(number)
    assert process.wait(20) == -number
    assert (folder / "told").exists()
    assert not (folder / ".done/make").exists()


def test_two_at_once_is_refused(folder):
    process = subprocess.Popen(words(script="echo up >up; sleep 60"), cwd=folder, stderr=subprocess.DEVNULL)
    wait_for(folder / "up")
    second = run(folder)
    process.terminate()
    process.wait()
    assert second.returncode == 1
    assert f"another run is at work on this (process {process.pid} on" in second.stderr
    assert run(folder).returncode == 0


def test_what_another_run_has_done_meanwhile_is_not_done_again(folder):
    """Both saw that it was to be done; one had the lock after the other."""
    other = f"""
import contextlib, subprocess
@contextlib.contextmanager
def lock(path):
    subprocess.run({words()!r}, check=True)
    yield
step.lock = lock
"""
    done = run_changed(folder, other)
    assert done.stderr.endswith("make: up to date\n") and runs(folder) == 1


def test_a_lock_names_its_holder_alone(tmp_path, monkeypatch):
    """Not with the end of a longer name that was there before."""
    monkeypatch.syspath_prepend(STEP.parent)
    path = tmp_path / "x.lock"
    path.write_text(f"process 1 on {'a' * 200}\n")
    with importlib.import_module("lock").lock(path):
        assert re.fullmatch(rf"process {os.getpid()} on \S+ since [\dT:+-]+\n", path.read_text())


def test_without_locks_it_says_so(folder):
    change = "import errno, fcntl\ndef refuse(*_): raise OSError(errno.ENOSYS, 'Function not implemented')\n"
    done = run_changed(folder, f"{change}fcntl.flock = refuse")
    assert done.returncode == 1 and "make.lock: cannot be locked: Function not implemented (" in done.stderr


def test_a_group_may_share_a_lock(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(STEP.parent)
    before = os.umask(0o002)
    try:
        with importlib.import_module("lock").lock(tmp_path / "x.lock"):
            assert (tmp_path / "x.lock").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_without_a_terminal_what_was_there_is_moved_aside_all_the_same(folder):
    run(folder)
    (folder / "input").write_text("b")
    main, terminal = os.openpty()
    os.close(main)
    done = subprocess.run(words(), cwd=folder, stderr=terminal, check=False)
    os.close(terminal)
    assert done.returncode == 0 and (folder / "out/result").read_text() == "b"
    (folder / "input").write_text("a")
    assert "made so before, taken back from .old" in run(folder).stderr


def test_it_outlives_its_terminal(folder):
    """Started by setsid, say; what there is to tell is lost, not the work."""
    main, terminal = os.openpty()
    script = f"echo up >up; while [ ! -e closed ]; do sleep 0.05; done; echo said; {COUNT}"
    with subprocess.Popen(
        words(script=script), cwd=folder, stderr=terminal, start_new_session=True
    ) as process:
        os.close(terminal)
        wait_for(folder / "up")
        os.close(main)
        (folder / "closed").touch()
        assert process.wait(60) == 0
    assert (folder / ".done/make").exists() and (folder / "out/result").read_text() == "a"
    assert "# Ended (code 0)" in (folder / "logs/make.log").read_text()


def test_several_may_see_at_once_that_it_is_done(folder):
    run(folder)
    with open(folder / ".done/make.lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(folder)
    assert done.returncode == 0 and done.stderr.endswith("make: up to date\n")


def test_a_pipe_among_the_inputs_is_not_waited_for(folder):
    os.mkfifo(folder / "input.d")
    assert run(folder, "--in", ".").returncode == 0


def test_what_a_killed_step_left_running_holds_the_lock(folder):
    script = "trap '' TERM; echo up >up; for _ in $(seq 40); do sleep 0.05; done; rm up"
    process = subprocess.Popen(words(script=script), cwd=folder, stderr=subprocess.DEVNULL)
    wait_for(folder / "up")
    process.kill()
    process.wait()
    assert "another run is at work on this" in run(folder).stderr
    deadline = time.monotonic() + 20
    while "another run" in (done := run(folder)).stderr:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert done.returncode == 0
    assert not (folder / "up").exists()  # the other had come to its end


def test_dry_run_tells_and_does_nothing(folder):
    environment = os.environ | {"SPEECHREP_DRY_RUN": str(folder / "foreseen")}
    (folder / "foreseen").touch()
    dry = run(folder, "--dry-run", "true", env=environment)
    assert dry.returncode == 0
    assert "make: would run: first time\n    bash -c" in dry.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["conf.yaml", "foreseen", "input"]
    later = [sys.executable, str(STEP), "--marker", ".done/use", "--log", "l", "--in", "out/result",
             "--dry-run", "true", "--", "true"]  # fmt: skip
    done = subprocess.run(later, cwd=folder, capture_output=True, text=True, env=environment, check=True)
    assert "use: would run: first time" in done.stderr  # though its input is not there yet
    (folder / "foreseen").write_text("")
    done = subprocess.run(later, cwd=folder, capture_output=True, text=True, env=environment)
    assert "out/result: input is missing, and no step here makes it" in done.stderr


def test_dry_run_foresees_what_a_change_entails(folder):
    environment = os.environ | {"SPEECHREP_DRY_RUN": str(folder / "foreseen")}
    later = [
        sys.executable,
        str(STEP),
        "--marker",
        ".done/use",
        "--log",
        "l",
        "--in",
        "out/result",
        "--",
        "true",
    ]
    run(folder)
    subprocess.run(later, cwd=folder, check=True, capture_output=True)
    later[2:2] = ["--dry-run", "true"]
    for change, told in [
        ("a", "use: up to date"),
        ("b", "use: would run: input out/result would be made anew"),
    ]:
        (folder / "foreseen").write_text("")
        (folder / "input").write_text(change)
        run(folder, "--dry-run", "true", env=environment)
        done = subprocess.run(later, cwd=folder, capture_output=True, text=True, env=environment, check=True)
        assert told in done.stderr


@pytest.mark.parametrize(
    ("path", "within"),
    [("a", True), ("a/b", True), ("a/b/c", True), ("a/d", False), ("ab", False), ("/a/b", False)],
)
def test_what_is_made_anew_is_what_lies_in_it_or_holds_it(path, within, monkeypatch):
    monkeypatch.syspath_prepend(STEP.parent)
    assert importlib.import_module("step").is_within(Path(path), ["x", "a/b"]) == within


@pytest.mark.parametrize(
    ("seconds", "told"), [(59.4, "59.4 s"), (59.6, "1 min 0 s"), (605, "10 min 5 s"), (7380, "2 h 3 min")]
)
def test_times_for_people(seconds, told, monkeypatch):
    monkeypatch.syspath_prepend(STEP.parent)
    assert importlib.import_module("step").duration(seconds) == told


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)

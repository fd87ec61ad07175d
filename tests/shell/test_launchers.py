"""utils/run.py, utils/slurm.py and utils/steps.py: job arrays, logs, failures, interrupts."""

import importlib
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"
RUN, SLURM, STEPS = (str(UTILS / name) for name in ("run.py", "slurm.py", "steps.py"))

# sbatch runs the array at once in the background; squeue tells of it while it runs.
FAKE_SBATCH = """#!/usr/bin/env bash
printf '%s\\n' "$@" >"$FAKE_SLURM/options"
[ ! -e "$FAKE_SLURM/refuse" ] || { echo "sbatch: error: invalid partition" >&2; exit 1; }
script=${!#}
export SLURM_JOB_ID=10007
array=
for option in "$@"; do case $option in --array=*) array=${option#--array=}; array=${array%\\%*} ;; esac; done
(
  if [ -e "$FAKE_SLURM/lose" ]; then exit; fi
  if [ -n "$array" ]; then
    for task in ${array//,/ }; do SLURM_ARRAY_TASK_ID=$task bash "$script" & done
  else
    { bash "$script"; [ ! -e "$FAKE_SLURM/requeue" ] || { sleep 3; bash "$script"; }; } &
  fi
  jobs -p >"$FAKE_SLURM/pids"
  wait
  : >"$FAKE_SLURM/pids"
) >"$FAKE_SLURM/out" 2>&1 </dev/null &
sleep 0.2
echo "1234;cluster"
"""
FAKE_SQUEUE = """#!/usr/bin/env bash
name=$(sed -n 's/^--job-name=//p' "$FAKE_SLURM/options")
[[ " $* " != *" --name="* || " $* " == *" --name=$name "* ]] || exit 0
if [ -s "$FAKE_SLURM/pids" ]; then echo RUNNING; else echo COMPLETED; fi
"""
FAKE_SCANCEL = """#!/usr/bin/env bash
echo "$1" >"$FAKE_SLURM/cancelled"
while read -r pid; do kill "$pid"; done <"$FAKE_SLURM/pids"
"""


def call(program: str, *words: str, folder: Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, program, *words], cwd=folder, capture_output=True, text=True, timeout=60, **options
    )


def impatient(folder: Path, **seconds: float) -> str:
    """A slurm.py that waits no longer than this."""
    program = f"import sys; sys.path.insert(0, {str(UTILS)!r}); import slurm\n"
    waits = "".join(f"slurm.{name} = {value}\n" for name, value in seconds.items())
    (folder / "impatient.py").write_text(f"{program}{waits}slurm.main()\n")
    return str(folder / "impatient.py")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in [("sbatch", FAKE_SBATCH), ("squeue", FAKE_SQUEUE), ("scancel", FAKE_SCANCEL)]:
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    state = tmp_path / "slurm"
    state.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    return state


@pytest.fixture(params=["local", "slurm"])
def launcher(request):
    if request.param == "slurm":
        request.getfixturevalue("slurm")
        return SLURM
    return RUN


def test_array_runs_every_job_with_its_number(launcher, tmp_path):
    done = call(launcher, "--mem", "2G", "JOB=2:4", "log/x.JOB.log", "echo", "part JOB of 4", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    logs = sorted((tmp_path / "log").glob("x.*.log"))
    assert [log.name for log in logs] == ["x.2.log", "x.3.log", "x.4.log"]
    assert "\npart 3 of 4\n" in logs[1].read_text()


def test_log_has_the_header_and_footer_that_log_readers_know(launcher, tmp_path):
    call(launcher, "x.log", "bash", "-c", "echo out; echo err >&2", folder=tmp_path)
    stamp = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"
    assert re.fullmatch(
        rf"# bash -c 'echo out; echo err >&2'\n# Started at {stamp}\n#\nout\nerr\n"
        rf"# Accounting: time=\d+ threads=\d+\n# Ended \(code 0\) at {stamp}, elapsed time \d+ seconds\n",
        (tmp_path / "x.log").read_text(),
    )


def test_failed_job_is_named_and_the_others_still_run(launcher, tmp_path):
    words = ["J=1:3", "log/x.J.log", "bash", "-c", "[ J != 2 ] || exit 7"]
    done = call(launcher, *words, folder=tmp_path)
    assert done.returncode == 1
    assert "1 / 3 failed, log is in log/x.*.log: log/x.2.log" in done.stderr
    assert "# Ended (code 7) at" in (tmp_path / "log/x.2.log").read_text()
    assert "# Ended (code 0) at" in (tmp_path / "log/x.3.log").read_text()


def test_what_a_job_left_running_may_write_below_its_end(tmp_path):
    words = ["JOB=1:2", "x.JOB.log", "bash", "-c", "[ JOB = 2 ] || { (sleep 0.3; echo late) & }"]
    assert call(RUN, *words, folder=tmp_path).returncode == 0
    wait_for_word(tmp_path / "x.1.log", "late")


def wait_for_word(path: Path, word: str) -> None:
    deadline = time.monotonic() + 20
    while word not in path.read_text():
        assert time.monotonic() < deadline, f"no {word} in {path}"
        time.sleep(0.02)


def test_a_job_of_slurm_has_threads_of_its_own(slurm, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "64", "MKL_NUM_THREADS": "64"}
    names = "$OMP_NUM_THREADS $MKL_NUM_THREADS $OPENCV_FOR_THREADS_NUM"
    words = ["--num-threads", "3", "x.log", "bash", "-c", f"echo {names}"]
    assert call(SLURM, *words, folder=tmp_path, env=environment).returncode == 0
    assert "\n3 3 3\n" in (tmp_path / "x.log").read_text()


@pytest.fixture
def jobs(monkeypatch):
    monkeypatch.syspath_prepend(UTILS)
    return importlib.import_module("jobs")


@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("# Ended (code 2) at Sun, elapsed time 1 seconds", 2),
        ("# Ended (code 0; signal 9) at Sun, elapsed time 1 seconds", 137),
        ("# Finished at Sun Nov 22 21:26:00 UTC 2026 with status 3", 3),  # as Kaldi's queue.pl ends one
        ("# Finished at Sun Nov 22 21:26:00 UTC 2026 with status 0", 0),
        ("it Ended (code 0)", None),
    ],
)
def test_the_status_that_a_log_tells(jobs, tmp_path, end, status):
    (tmp_path / "x.log").write_text(f"# true\n{'#' * 5000}\n{end}\n")
    assert jobs.status(tmp_path / "x.log") == status


def test_one_number_is_an_array_of_one_and_every_name_in_a_word_is_replaced(jobs):
    (job,) = jobs.parse_job_array(["J=3", "x.J.log", "J/of/J"]).jobs
    assert (job.number, str(job.log), job.argv) == (3, "x.3.log", ("3/of/3",))
    assert len(jobs.parse_job_array(["J=1:1", "x.log", "true"]).jobs) == 1


def test_of_many_failures_some_are_named(jobs, tmp_path):
    array = jobs.parse_job_array(["J=1:7", f"{tmp_path}/J.log", "true"])
    named = [f"{tmp_path}/{number}.log" for number in range(1, 8)]
    assert jobs.failures(array).startswith(f"7 / 7 failed, log is in {tmp_path}/*.log: {named[0]} ")
    assert jobs.failures(array).endswith(f" {' '.join(named[3:5])} ...")
    (tmp_path / "1.log").write_text("# Ended (code 0) at\n")
    (tmp_path / "2.log").write_text("# Ended (code 0) at\n")
    assert jobs.failures(array).endswith(f": {' '.join(named[2:])}")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["JOB=1:2", "x.log", "true"], "the log x.log must contain JOB"),
        (["JOB=0:2", "x.JOB.log", "true"], "want 1 <= first <= last"),
        (["JOB=3:2", "x.JOB.log", "true"], "want 1 <= first <= last"),
        (["x.log"], "want [JOB=1:N] LOG COMMAND"),
        ([], "want [JOB=1:N] LOG COMMAND"),
    ],
)
def test_bad_calls(launcher, tmp_path, words, told):
    done = call(launcher, *words, folder=tmp_path)
    assert done.returncode == 1
    assert told in done.stderr


def test_a_signal_and_a_missing_program_are_told_in_the_log(tmp_path):
    assert call(RUN, "x.log", "bash", "-c", "kill -9 $$", folder=tmp_path).returncode == 1
    assert "# Ended (code 0; signal 9) at" in (tmp_path / "x.log").read_text()
    assert call(RUN, "z.log", "echo", "# Ended (code 3) at", folder=tmp_path).returncode == 0  # its own end
    done = call(RUN, "y.log", "./no-such-program", folder=tmp_path)
    assert (done.returncode, "job failed, log is in y.log" in done.stderr) == (1, True)
    assert "./no-such-program: No such file" in (tmp_path / "y.log").read_text()
    assert "# Ended (code 127) at" in (tmp_path / "y.log").read_text()  # as a shell has it


def test_a_log_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    done = call(RUN, "file/x.log", "true", folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "file" in done.stderr
    if os.path.exists("/dev/full"):  # a full disk
        done = call(RUN, "/dev/full", "true", folder=tmp_path)
        assert (done.returncode, done.stderr) == (1, "run.py: [Errno 28] No space left on device\n")


def test_words_reach_the_command_unchanged(tmp_path):
    words = ["$HOME", "a b", "`id`", "*", "'", '"', "|", ""]
    call(RUN, "x.log", sys.executable, "-c", "import sys; print(sys.argv[1:])", *words, folder=tmp_path)
    assert f"\n{words}\n" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize(
    ("options", "most"), [(["--max-jobs-run", "2"], 2), (["--num-threads", "100000"], 1)]
)
def test_options_bound_what_runs_at_once(tmp_path, options, most):
    script = "echo + >>count; sleep 0.2; echo - >>count"
    call(RUN, *options, "J=1:4", "x.J.log", "bash", "-c", script, folder=tmp_path)
    level = peak = 0
    for sign in (tmp_path / "count").read_text().split():
        level += 1 if sign == "+" else -1
        peak = max(peak, level)
    assert peak == most


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_reaches_the_job_and_ends_the_launcher_by_the_signal(tmp_path, number):
    script = "trap 'sleep 0.3; echo told >told; exit' INT TERM; echo up >up; while :; do sleep 0.05; done"
    process = subprocess.Popen([sys.executable, RUN, "x.log", "bash", "-c", script], cwd=tmp_path)
    wait_for(tmp_path / "up")
    process.send_signal(number)
    assert process.wait(20) == -number
    assert (tmp_path / "told").exists()


def test_after_an_interrupt_no_further_job_begins(tmp_path):
    words = ["--max-jobs-run", "1", "J=1:3", "x.J.log", "bash", "-c", "echo up >up.J; sleep 60"]
    process = subprocess.Popen([sys.executable, RUN, *words], cwd=tmp_path)
    wait_for(tmp_path / "up.1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == -signal.SIGTERM
    assert [path.name for path in tmp_path.glob("up.*")] == ["up.1"]


def test_a_second_interrupt_kills_what_does_not_end(tmp_path):
    """It would be killed ten seconds after the first."""
    script = "trap '' TERM INT; echo up >up; while :; do sleep 0.05; done"
    process = subprocess.Popen([sys.executable, RUN, "x.log", "bash", "-c", script], cwd=tmp_path)
    wait_for(tmp_path / "up")
    began = time.monotonic()
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGTERM  # the first
    assert time.monotonic() - began < 8
    assert "# Ended (code 0; signal 9) at" in (tmp_path / "x.log").read_text()


@pytest.mark.parametrize("around", [[], ["bash", "-c", '"$@"; true', "recipe"]])
def test_job_ends_when_its_launcher_or_the_recipe_is_killed(tmp_path, around):
    process = subprocess.Popen(
        [*around, sys.executable, RUN, "x.log", "bash", "-c", "echo $$ >pid; sleep 60"], cwd=tmp_path
    )
    wait_for(tmp_path / "pid")
    process.kill()
    process.wait()
    wait_for_end(int((tmp_path / "pid").read_text()))


def wait_for_end(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_a_job_has_started_is_interrupted_with_it(tmp_path):
    script = "sleep 60 & echo $! >pid; wait"
    process = subprocess.Popen([sys.executable, RUN, "x.log", "bash", "-c", script], cwd=tmp_path)
    wait_for(tmp_path / "pid")
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    wait_for_end(int((tmp_path / "pid").read_text()))


IGNORED = """
import os, signal, sys
sys.path.insert(0, {utils!r})
from children import Children
children = Children(grace_s=0.2)
stubborn = children.start(["bash", "-c", "trap '' TERM; echo up >up; while :; do sleep 0.05; done"])
while not os.path.exists("up"):
    children.wait()
os.kill(os.getpid(), signal.SIGTERM)
late = children.start(["sleep", "60"])
while children.live:
    children.finished()
    children.wait()
print(stubborn.returncode, late.returncode)
"""


def test_an_interrupt_that_is_ignored_kills_in_time_and_reaches_what_starts_late(tmp_path):
    done = call("-c", IGNORED.format(utils=str(UTILS)), folder=tmp_path)
    assert done.stdout == f"{-signal.SIGKILL} {-signal.SIGTERM}\n", done.stderr


def test_a_job_does_not_read_what_is_typed(tmp_path):
    assert call(RUN, "x.log", "cat", folder=tmp_path, input="not for the job\n").returncode == 0
    assert "not for the job" not in (tmp_path / "x.log").read_text()


def seen_on_a_terminal(folder: Path, *words: str, **environment: str) -> bytes:
    """What the local launcher shows on a terminal."""
    master, slave = pty.openpty()
    env = os.environ | {"SPEECHREP_PROGRESS": ""} | environment
    subprocess.run([sys.executable, RUN, *words], cwd=folder, stderr=slave, check=True, env=env)
    os.write(slave, b"#")  # or there may be nothing to read
    shown = os.read(master, 10_000)
    os.close(slave)
    os.close(master)
    return shown.removesuffix(b"#")


def test_a_bar_moves_on_the_terminal_and_leaves_one_line_in_the_log(tmp_path):
    script = (
        "import sys, time; print(sys.stderr.isatty(), flush=True); sys.stderr.write('1%\\r50%\\r100%\\nthe ')"
        "; sys.stderr.flush(); time.sleep(0.2); sys.stderr.write('end')"
    )
    shown = seen_on_a_terminal(tmp_path, "x.log", sys.executable, "-c", script)
    assert b"1%\r50%\r100%" in shown
    assert "#\nTrue\n100%\nthe end\n# Acc" in (tmp_path / "x.log").read_text()


def test_several_at_once_show_nothing_on_the_terminal(tmp_path):
    """Jobs of an array, or commands side by side, whose bars would run into each other."""
    assert seen_on_a_terminal(tmp_path, "J=1:2", "x.J.log", "echo", "J") == b""
    assert seen_on_a_terminal(tmp_path, "x.log", "echo", "1", SPEECHREP_PROGRESS="log") == b""


def test_slurm_options(slurm, tmp_path):
    words = ["--mem", "4G", "--num-threads", "3", "--gpu", "2", "--time", "1:00:00", "--max-jobs-run", "5"]
    call(SLURM, *words, "--sbatch=--partition=long --qos=low", "J=1:2", "x.J.log", "true", folder=tmp_path)
    options = (slurm / "options").read_text().split("\n")
    for wanted in ("--mem=4G", "--cpus-per-task=3", "--gres=gpu:2", "--time=1:00:00", "--array=1,2%5"):
        assert wanted in options
    assert {"--partition=long", "--qos=low"} <= set(options)
    for wanted in ("--job-name=x.J.log", "--ntasks-per-node=1", "--output=q/x.J.log.%j.out", "--export=ALL"):
        assert options.index(wanted) < options.index("--partition=long")  # the caller has the last word
    call(SLURM, "J=1:2", "x.J.log", "true", folder=tmp_path)
    plain = (slurm / "options").read_text().split("\n")
    assert "--array=1,2" in plain  # as many at once as fit
    assert not [option for option in plain if option.startswith(("--mem", "--time", "--gres"))]


def test_slurm_refusal_is_passed_on(slurm, tmp_path):
    (slurm / "refuse").touch()
    done = call(SLURM, "x.log", "true", folder=tmp_path)
    assert done.returncode == 1
    assert "sbatch refused the job: sbatch: error: invalid partition" in done.stderr


def test_slurm_absent(tmp_path):
    done = call(SLURM, "x.log", "true", folder=tmp_path, env={"PATH": str(tmp_path)})
    assert done.returncode == 1
    assert "sbatch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("forgotten", [False, True])
def test_slurm_job_that_vanishes_is_a_failure(slurm, tmp_path, forgotten):
    (slurm / "lose").touch()
    (tmp_path / "x.log").write_text("# Ended (code 0) at\n")  # of an earlier launch
    if forgotten:
        error = "slurm_load_jobs error: Invalid job id specified"
        (tmp_path / "bin/squeue").write_text(f"#!/usr/bin/env bash\necho '{error}' >&2; exit 1\n")
    quick = impatient(tmp_path, LOOK_AT_LOGS_S=0.05, ASK_QUEUE_S=0.1, LOGS_APPEAR_S=0.4)
    done = call(quick, "x.log", "true", folder=tmp_path)
    assert done.returncode == 1
    assert "Slurm job 1234: job failed, log is in x.log" in done.stderr


def test_slurm_waits_for_logs_that_appear_late_and_jobs_that_appear_again(slurm, tmp_path):
    """A shared file system may show a log late; a controller that begins anew may not know the job yet."""
    for name, script in (
        ("sbatch", "(sleep 1.5; echo '# Ended (code 0) at' >x.log) >out 2>&1 & echo 1234"),
        ("squeue", "if [ -e asked ]; then echo RUNNING; else touch asked; fi"),
    ):
        (tmp_path / "bin" / name).write_text(f"#!/usr/bin/env bash\n{script}\n")
    quick = impatient(tmp_path, LOOK_AT_LOGS_S=0.05, ASK_QUEUE_S=0.1, LOGS_APPEAR_S=0.5)
    done = call(quick, "x.log", "true", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_slurm_an_earlier_job_that_does_not_end_is_told(slurm, tmp_path):
    (tmp_path / "bin/squeue").write_text("#!/usr/bin/env bash\necho RUNNING\n")
    (tmp_path / "q").mkdir()
    (tmp_path / "q/x.log.id").write_text("77 x.log\n")
    (slurm / "pids").write_text("")
    done = call(impatient(tmp_path, LOOK_AT_LOGS_S=0.05, CANCEL_S=0.2), "x.log", "true", folder=tmp_path)
    assert done.returncode == 1 and "does not end; try scancel 77" in done.stderr
    assert not (slurm / "options").exists()  # no second one beside it


def test_slurm_an_answer_without_a_number_is_a_refusal(slurm, tmp_path):
    (tmp_path / "bin/sbatch").write_text("#!/usr/bin/env bash\necho Be welcome\n")
    done = call(SLURM, "x.log", "true", folder=tmp_path)
    assert done.returncode == 1 and "sbatch refused the job: Be welcome" in done.stderr


def test_slurm_a_folder_with_blanks(slurm, tmp_path):
    folder = tmp_path / "a folder of 'mine'"
    folder.mkdir()
    done = call(SLURM, "x.log", "pwd", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"\n{folder}\n" in (folder / "x.log").read_text()


def test_slurm_interrupt_cancels(slurm, tmp_path):
    process = subprocess.Popen(
        [sys.executable, SLURM, "x.log", "bash", "-c", "echo up >up; sleep 60"], cwd=tmp_path
    )
    wait_for(tmp_path / "up")
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert (slurm / "cancelled").read_text() == "1234\n"


def test_slurm_several_machines(slurm, tmp_path):
    srun = tmp_path / "bin/srun"  # two nodes, one after the other
    srun.write_text(
        "#!/usr/bin/env bash\nexport SLURM_NNODES=2\n"
        'while [[ $1 == --* ]]; do echo "$1" >>"$FAKE_SLURM/srun"; shift; done\n'
        'for node in 0 1; do SLURM_NODEID=$node "$@" || exit; done\n'
    )
    srun.chmod(0o755)
    words = ["--num-nodes", "2", "--num-threads", "3", "JOB=1:1", "x.JOB.log", "echo", "$HOME", "JOB"]
    done = call(SLURM, *words, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in (tmp_path / "x.1.log").read_text().splitlines() if line.startswith("$HOME")]
    where = rf"--master {re.escape(os.uname().nodename)}:20007"
    for node, line in enumerate(lines):
        assert re.fullmatch(rf"\$HOME 1 --num-nodes 2 --node-rank {node} {where}", line), line
    assert len(lines) == 2 and "--nodes=2" in (slurm / "options").read_text().split("\n")
    # One that fails must not leave the others waiting for it.
    assert (slurm / "srun").read_text().split() == ["--kill-on-bad-exit=1", "--cpus-per-task=3"]


def test_slurm_within_a_job_of_an_array(slurm, tmp_path):
    """What the job around it was told is not the new job's; where the site's Slurm is, is."""
    around = {
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_MEM_PER_CPU": "9",
        "SLURM_CONF": "there",
        "SLURM_CLUSTERS": "one",
        "SLURM_JWT": "key",
        "SBATCH_ACCOUNT": "us",
    }
    done = call(SLURM, "x.log", "bash", "-c", "env", folder=tmp_path, env=os.environ | around)
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "x.log").read_text().splitlines()
    assert {"SLURM_CONF=there", "SLURM_CLUSTERS=one", "SLURM_JWT=key", "SBATCH_ACCOUNT=us"} <= set(told)
    assert not [line for line in told if line.startswith(("SLURM_ARRAY", "SLURM_MEM"))]


@pytest.mark.parametrize("end", ["exit 75", "kill -TERM $$"])
def test_slurm_waits_for_a_job_that_is_in_the_queue_again(slurm, tmp_path, end):
    """Ended with notice, it saved and failed, or had not learnt to; Slurm begins it anew."""
    (slurm / "requeue").touch()
    script = f"if [ -e saved ]; then echo fine; else touch saved; {end}; fi"
    done = call(SLURM, "x.log", "bash", "-c", script, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "fine" in (tmp_path / "x.log").read_text()


def test_slurm_does_not_ask_about_a_job_that_failed_by_itself(slurm, tmp_path):
    (tmp_path / "bin/squeue").write_text("#!/usr/bin/env bash\necho 'no controller' >&2; exit 1\n")
    done = call(SLURM, "x.log", "bash", "-c", "exit 3", folder=tmp_path)
    assert done.returncode == 1 and "job failed, log is in x.log" in done.stderr


@pytest.mark.parametrize("ignored", [True, False])
def test_nohup_is_respected(tmp_path, ignored, hangup_heard):
    script = "echo up >up; sleep 2; echo end >end"
    process = subprocess.Popen(
        [*(["nohup"] if ignored else []), sys.executable, RUN, "x.log", "bash", "-c", script],
        cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_for(tmp_path / "up")
    process.send_signal(signal.SIGHUP)
    assert process.wait(20) == (0 if ignored else -signal.SIGHUP)
    assert (tmp_path / "end").exists() == ignored


def test_slurm_cancels_what_a_killed_launcher_left(slurm, tmp_path):
    process = subprocess.Popen([sys.executable, SLURM, "log/x.log", "bash", "-c", "sleep 60"], cwd=tmp_path)
    wait_for(tmp_path / "log/q/x.log.id")
    process.kill()
    process.wait()
    assert not (slurm / "cancelled").exists()
    assert call(SLURM, "log/x.log", "true", folder=tmp_path).returncode == 0
    assert (slurm / "cancelled").read_text() == "1234\n"
    (slurm / "cancelled").unlink()
    assert call(SLURM, "log/x.log", "true", folder=tmp_path).returncode == 0
    assert not (slurm / "cancelled").exists()  # the last one has ended


def test_slurm_another_job_that_has_the_number_now_is_not_cancelled(slurm, tmp_path):
    """Slurm's numbers begin anew one day: the name must be that of the launch, too."""
    squeue = '[[ " $* " == *" --name=x.log "* ]] || echo RUNNING'
    (tmp_path / "bin/squeue").write_text(f"#!/usr/bin/env bash\n{squeue}\n")
    (tmp_path / "q").mkdir()
    (tmp_path / "q/x.log.id").write_text("77 x.log\n")
    assert call(SLURM, "x.log", "true", folder=tmp_path).returncode == 0
    assert not (slurm / "cancelled").exists()


@pytest.mark.parametrize(
    ("answer", "may_run"),
    [
        ("echo 'no controller' >&2; exit 1", True),  # which may still run the job
        ("echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1", False),
        ("echo COMPLETED; echo PENDING; echo FAILED", True),
        ("echo COMPLETED; echo DEADLINE; echo TIMEOUT", False),
        ("true", False),
    ],
)
def test_slurm_which_answers_say_that_a_job_may_run(slurm, tmp_path, answer, may_run):
    (tmp_path / "bin/squeue").write_text(f"#!/usr/bin/env bash\n{answer}\n")
    ask = f"import sys; sys.path.insert(0, {str(UTILS)!r}); import slurm; print(slurm.in_queue('7'))"
    assert call("-c", ask, folder=tmp_path).stdout == f"{may_run}\n"


@pytest.mark.parametrize("note", [b"--user=me x.log\n", b"12", b"12 x\0.log\n", b"\xff 1\n", b""])
def test_slurm_a_damaged_note_of_an_earlier_launch_cancels_nothing(slurm, tmp_path, note):
    (tmp_path / "q").mkdir()
    (tmp_path / "q/x.log.id").write_bytes(note)
    (slurm / "pids").write_text("")
    assert call(SLURM, "x.log", "true", folder=tmp_path).returncode == 0
    assert not (slurm / "cancelled").exists()


def queued(commands: list[list[str]], *options: str, first: int = 0) -> str:
    """Steps s0, s1, ... of these commands, as utils/recipe.sh's queue has them."""
    text = ""
    for number, command in enumerate(commands, first):
        words = ["--marker", f".done/s{number}", "--log", f"logs/s{number}", *options, "--", *command]
        text += "".join(f"{word}\0" for word in (len(words), *words))
    return text


def run_steps(commands: list[list[str]], *options: str, folder: Path) -> subprocess.CompletedProcess:
    """All of them, whatever was done before."""
    shutil.rmtree(folder / ".done", ignore_errors=True)
    return call(STEPS, *options, folder=folder, input=queued(commands))


def test_steps_share_the_cores(tmp_path):
    script = "echo $OMP_NUM_THREADS >threads.$0; echo + >>count; sleep 0.6; echo - >>count"
    commands = [["bash", "-c", script, str(number)] for number in range(4)]
    assert run_steps(commands, "--slots", "2", "--cores", "4", folder=tmp_path).returncode == 0
    assert {path.read_text() for path in tmp_path.glob("threads.*")} == {"2\n"}
    assert (tmp_path / "count").read_text().split()[:2] == ["+", "+"]
    assert run_steps(commands[:1], "--slots", "2", "--cores", "4", folder=tmp_path).returncode == 0
    assert (tmp_path / "threads.0").read_text() == "4\n"


def test_a_failure_ends_a_row_but_not_what_runs_side_by_side(tmp_path):
    commands = [["false"], ["true"], ["touch", "a b"]]
    assert run_steps(commands, "--slots", "1", "--cores", "1", folder=tmp_path).returncode == 1
    assert not (tmp_path / "a b").exists()
    assert run_steps(commands, "--slots", "2", "--cores", "1", folder=tmp_path).returncode == 1
    assert (tmp_path / "a b").exists()
    killed = [["bash", "-c", "kill -9 $$"]]
    assert run_steps(killed, "--slots", "1", "--cores", "1", folder=tmp_path).returncode == 1


@pytest.mark.parametrize(("shown", "wanted"), [("3,5", ["3", "5"]), ("", ["0", "1"])])
def test_each_step_has_its_gpu(tmp_path, monkeypatch, shown, wanted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    commands = [["bash", "-c", f"echo $CUDA_VISIBLE_DEVICES >gpu.{number}; sleep 0.3"] for number in range(2)]
    run_steps(commands, "--slots", "2", "--cores", "2", "--gpus", "2", folder=tmp_path)
    assert sorted(path.read_text().strip() for path in tmp_path.glob("gpu.*")) == wanted


def test_more_steps_at_once_than_cores_and_gpus(tmp_path, monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "SPEECHREP_PROGRESS"):
        monkeypatch.delenv(name, raising=False)
    script = 'echo "$OMP_NUM_THREADS ${SPEECHREP_PROGRESS-} ${CUDA_VISIBLE_DEVICES-}" >told.$0; sleep 0.3'
    commands = [["bash", "-c", script, str(number)] for number in range(3)]
    options = ["--cores", "1", "--gpus", "2"]
    assert run_steps(commands, "--slots", "3", *options, folder=tmp_path).returncode == 0
    assert sorted(path.read_text() for path in tmp_path.glob("told.*")) == [
        "1 log 0\n", "1 log 0\n", "1 log 1\n",
    ]  # fmt: skip
    assert run_steps(commands[:1], "--slots", "3", *options, folder=tmp_path).returncode == 0
    assert (tmp_path / "told.0").read_text() == "1  \n"  # alone it has all, and a bar


def test_steps_interrupted_begin_nothing_more(tmp_path):
    script = "trap 'sleep 0.3; echo >saved.$0; exit' TERM; echo up >up.$0; while :; do sleep 0.05; done"
    commands = [*(["bash", "-c", script, str(number)] for number in (0, 1)), ["touch", "later"]]
    words = [sys.executable, STEPS, "--slots", "2", "--cores", "2"]
    process = subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(queued(commands).encode())
    process.stdin.close()
    wait_for(tmp_path / "up.0")
    wait_for(tmp_path / "up.1")
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert sorted(path.name for path in tmp_path.glob("[!.]*.*")) == ["saved.0", "saved.1", "up.0", "up.1"]
    assert not (tmp_path / "later").exists()


def test_steps_that_are_up_to_date_start_nothing_and_are_seen_at_their_turn(tmp_path):
    (tmp_path / "a").write_text("1")
    commands = [["bash", "-c", "cat a >b"], ["bash", "-c", "cat b >c"]]
    for content in ("1", "2"):
        (tmp_path / "a").write_text(content)
        queue = queued(commands[:1], "--in", "a", "--out", "b")
        queue += queued(commands[1:], "--in", "b", "--out", "c", first=1)
        done = call(STEPS, "--slots", "1", "--cores", "1", folder=tmp_path, input=queue)
        assert (done.returncode, (tmp_path / "c").read_text()) == (0, content), done.stderr
        assert [line.partition(": ")[2][:4] for line in done.stderr.splitlines()] == ["runs", "done"] * 2
        (tmp_path / "logs/s1").unlink()
        done = call(STEPS, "--slots", "1", "--cores", "1", folder=tmp_path, input=queue)
        assert [line.partition(": ")[2] for line in done.stderr.splitlines()] == ["up to date"] * 2
        assert not (tmp_path / "logs/s1").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_long_look_at_a_step(tmp_path, number):
    program = f"""import sys, time; sys.path.insert(0, {str(UTILS)!r}); import step, steps
real = step.due
def slow(asked):
    if asked.name == "s1":
        open("looks", "w").write("x")
        time.sleep(30)
    return real(asked)
step.due = slow
steps.main()"""
    words = [sys.executable, "-c", program, "--slots", "1", "--cores", "1"]
    process = subprocess.Popen(words, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    process.stdin.write(queued([["true"], ["touch", "later"]]).encode())
    process.stdin.close()
    wait_for(tmp_path / "looks")
    process.send_signal(number)
    assert process.wait(10) == -number
    assert (tmp_path / ".done/s0").exists() and not (tmp_path / "later").exists()


def test_a_step_that_cannot_be_looked_at_has_failed(tmp_path):
    queue = queued([["touch", "x"]], "--in", "gone") + queued([["touch", "y"]], first=1)
    for slots in ("1", "2"):
        done = call(STEPS, "--slots", slots, "--cores", "1", folder=tmp_path, input=queue)
        assert done.returncode == 1 and "step.py: s0: error: gone: input is missing (run " in done.stderr
        assert (tmp_path / "y").exists() == (slots == "2")  # side by side the others go on


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 20
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

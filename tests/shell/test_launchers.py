"""utils/run.py, utils/slurm.py and utils/parallel.py: job arrays, logs, failures, interrupts."""

import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "utils"
RUN, SLURM, PARALLEL = (str(UTILS / name) for name in ("run.py", "slurm.py", "parallel.py"))

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
    again = ["--pick", "failed", *words]
    assert call(RUN, *words, folder=tmp_path).returncode == 0
    wait_for_word(tmp_path / "x.1.log", "late")
    (tmp_path / "x.2.log").unlink()
    assert call(RUN, *again, folder=tmp_path).returncode == 0
    assert "late" in (tmp_path / "x.1.log").read_text()  # it was not run again
    assert (tmp_path / "x.2.log").exists()  # it told of no end


def wait_for_word(path: Path, word: str) -> None:
    deadline = time.monotonic() + 20
    while word not in path.read_text():
        assert time.monotonic() < deadline, f"no {word} in {path}"
        time.sleep(0.02)


def test_a_job_of_slurm_has_threads_of_its_own(slurm, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "64", "MKL_NUM_THREADS": "64"}
    words = ["--num-threads", "3", "x.log", "bash", "-c", "echo $OMP_NUM_THREADS $MKL_NUM_THREADS"]
    assert call(SLURM, *words, folder=tmp_path, env=environment).returncode == 0
    assert "\n3 3\n" in (tmp_path / "x.log").read_text()


def test_pick_failed_runs_only_those(launcher, tmp_path):
    words = ["J=1:3", "x.J.log", "bash", "-c", "echo run >>ran.J; [ J != 2 ] || [ -e mended ]"]
    assert call(launcher, *words, folder=tmp_path).returncode == 1
    (tmp_path / "mended").touch()
    assert call(launcher, "--pick", "failed", *words, folder=tmp_path).returncode == 0
    assert [(tmp_path / f"ran.{k}").read_text().count("run") for k in (1, 2, 3)] == [1, 2, 1]


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
    script = "trap 'echo told >told; exit' INT TERM; echo up >up; while :; do sleep 0.05; done"
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
    script = "trap '' TERM; echo up >up; while :; do sleep 0.05; done"
    process = subprocess.Popen([sys.executable, RUN, "x.log", "bash", "-c", script], cwd=tmp_path)
    wait_for(tmp_path / "up")
    began = time.monotonic()
    process.terminate()
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
    assert time.monotonic() - began < 8
    assert "# Ended (code 0; signal 9) at" in (tmp_path / "x.log").read_text()


def test_job_ends_when_its_launcher_is_killed(tmp_path):
    process = subprocess.Popen(
        [sys.executable, RUN, "x.log", "bash", "-c", "echo $$ >pid; sleep 60"], cwd=tmp_path
    )
    wait_for(tmp_path / "pid")
    process.kill()
    process.wait()
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_bar_moves_on_the_terminal_and_leaves_one_line_in_the_log(tmp_path):
    script = "import sys; print(sys.stderr.isatty()); sys.stderr.write('1%\\r50%\\r100%\\nend')"
    master, slave = pty.openpty()
    subprocess.run(
        [sys.executable, RUN, "x.log", sys.executable, "-c", script], cwd=tmp_path, stderr=slave, check=True
    )
    os.close(slave)
    assert b"1%\r50%\r100%" in os.read(master, 10_000)
    os.close(master)
    assert "#\nTrue\n100%\nend\n# Acc" in (tmp_path / "x.log").read_text()


def test_slurm_options(slurm, tmp_path):
    words = ["--mem", "4G", "--num-threads", "3", "--gpu", "2", "--time", "1:00:00", "--max-jobs-run", "5"]
    call(SLURM, *words, "--sbatch=--partition=long --qos=low", "J=1:2", "x.J.log", "true", folder=tmp_path)
    options = (slurm / "options").read_text().split("\n")
    for wanted in ("--mem=4G", "--cpus-per-task=3", "--gres=gpu:2", "--time=1:00:00", "--array=1,2%5"):
        assert wanted in options
    assert {"--partition=long", "--qos=low"} <= set(options)
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
    quick = tmp_path / "quick.py"  # the launcher with shorter waits
    quick.write_text(
        f"import sys; sys.path.insert(0, {str(UTILS)!r}); import slurm\n"
        "slurm.ASK_QUEUE_S = slurm.LOGS_APPEAR_S = 0.5\nslurm.main()\n"
    )
    done = call(str(quick), "x.log", "true", folder=tmp_path)
    assert done.returncode == 1
    assert "Slurm job 1234: job failed, log is in x.log" in done.stderr


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
        "#!/usr/bin/env bash\nexport SLURM_NNODES=2\nwhile [[ $1 == --* ]]; do shift; done\n"
        'for node in 0 1; do SLURM_NODEID=$node "$@" || exit; done\n'
    )
    srun.chmod(0o755)
    words = ["--num-nodes", "2", "JOB=1:1", "x.JOB.log", "echo", "$HOME", "JOB"]
    done = call(SLURM, *words, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in (tmp_path / "x.1.log").read_text().splitlines() if line.startswith("$HOME")]
    where = rf"--master {re.escape(os.uname().nodename)}:20007"
    for node, line in enumerate(lines):
        assert re.fullmatch(rf"\$HOME 1 --num-nodes 2 --node-rank {node} {where}", line), line
    assert len(lines) == 2 and "--nodes=2" in (slurm / "options").read_text().split("\n")


def test_slurm_within_a_job_of_an_array(slurm, tmp_path):
    """What the job around it was told is not the new job's; where the site's Slurm is, is."""
    around = {
        "SLURM_ARRAY_TASK_ID": "3",
        "SLURM_MEM_PER_CPU": "9",
        "SLURM_CONF": "there",
        "SBATCH_ACCOUNT": "us",
    }
    done = call(SLURM, "x.log", "bash", "-c", "env", folder=tmp_path, env=os.environ | around)
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "x.log").read_text().splitlines()
    assert {"SLURM_CONF=there", "SBATCH_ACCOUNT=us"} <= set(told)
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
    process = subprocess.Popen([sys.executable, SLURM, "x.log", "bash", "-c", "sleep 60"], cwd=tmp_path)
    wait_for(tmp_path / "q/x.log.id")
    process.kill()
    process.wait()
    assert not (slurm / "cancelled").exists()
    assert call(SLURM, "x.log", "true", folder=tmp_path).returncode == 0
    assert (slurm / "cancelled").read_text() == "1234\n"
    (slurm / "cancelled").unlink()
    assert call(SLURM, "x.log", "true", folder=tmp_path).returncode == 0
    assert not (slurm / "cancelled").exists()  # the last one has ended


def test_slurm_another_job_that_has_the_number_now_is_not_cancelled(slurm, tmp_path):
    """Slurm's numbers begin anew one day: the name must be that of the launch, too."""
    squeue = '[[ " $* " == *" --name=x.log "* ]] || echo RUNNING'
    (tmp_path / "bin/squeue").write_text(f"#!/usr/bin/env bash\n{squeue}\n")
    (tmp_path / "q").mkdir()
    (tmp_path / "q/x.log.id").write_text("77 x.log\n")
    assert call(SLURM, "x.log", "true", folder=tmp_path).returncode == 0
    assert not (slurm / "cancelled").exists()


def test_slurm_a_controller_that_does_not_answer_may_still_run_the_job(slurm, tmp_path):
    (tmp_path / "bin/squeue").write_text("#!/usr/bin/env bash\necho 'no controller' >&2; exit 1\n")
    ask = f"import sys; sys.path.insert(0, {str(UTILS)!r}); import slurm; print(slurm.in_queue('7'))"
    assert call("-c", ask, folder=tmp_path).stdout == "True\n"


@pytest.mark.parametrize("note", [b"--user=me x.log\n", b"12", b"\xff 1\n", b""])
def test_slurm_a_damaged_note_of_an_earlier_launch_cancels_nothing(slurm, tmp_path, note):
    (tmp_path / "q").mkdir()
    (tmp_path / "q/x.log.id").write_bytes(note)
    (slurm / "pids").write_text("")
    assert call(SLURM, "x.log", "true", folder=tmp_path).returncode == 0
    assert not (slurm / "cancelled").exists()


def parallel(commands: list[list[str]], *options: str, folder: Path) -> subprocess.CompletedProcess:
    text = "".join(f"{len(words)}\0" + "".join(f"{word}\0" for word in words) for words in commands)
    return call(PARALLEL, *options, folder=folder, input=text)


def test_parallel_shares_the_cores(tmp_path):
    script = "echo $OMP_NUM_THREADS >threads.$0; echo + >>count; sleep 0.2; echo - >>count"
    commands = [["bash", "-c", script, str(number)] for number in range(4)]
    assert parallel(commands, "--slots", "2", "--cores", "4", folder=tmp_path).returncode == 0
    assert {path.read_text() for path in tmp_path.glob("threads.*")} == {"2\n"}
    assert (tmp_path / "count").read_text().split()[:2] == ["+", "+"]
    assert parallel(commands[:1], "--slots", "2", "--cores", "4", folder=tmp_path).returncode == 0
    assert (tmp_path / "threads.0").read_text() == "4\n"


def test_a_failure_ends_a_row_but_not_what_runs_side_by_side(tmp_path):
    commands = [["false"], ["true"], ["touch", "a b"]]
    assert parallel(commands, "--slots", "1", "--cores", "1", folder=tmp_path).returncode == 1
    assert not (tmp_path / "a b").exists()
    assert parallel(commands, "--slots", "2", "--cores", "1", folder=tmp_path).returncode == 1
    assert (tmp_path / "a b").exists()
    killed = [["bash", "-c", "kill -9 $$"]]
    assert parallel(killed, "--slots", "1", "--cores", "1", folder=tmp_path).returncode == 1


@pytest.mark.parametrize(("shown", "wanted"), [("3,5", ["3", "5"]), ("", ["0", "1"])])
def test_parallel_gives_each_its_gpu(tmp_path, monkeypatch, shown, wanted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    commands = [["bash", "-c", f"echo $CUDA_VISIBLE_DEVICES >gpu.{number}; sleep 0.3"] for number in range(2)]
    parallel(commands, "--slots", "2", "--cores", "2", "--gpus", "2", folder=tmp_path)
    assert sorted(path.read_text().strip() for path in tmp_path.glob("gpu.*")) == wanted


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

#!/usr/bin/env python3
"""Run a job, or an array of jobs, through Slurm and wait for it; the same call and logs as utils/run.py.

    utils/slurm.py --mem 4G [--sbatch="--partition=long --qos=low"] [JOB=1:N] log/x.JOB.log command...

The nodes must see this folder and this Python at the same paths. An interrupt cancels the jobs; those of a
launcher that was killed outright are cancelled by the next launch with the same log.
With --num-nodes N a job is one command per machine, all under one log, each given --num-nodes N,
--node-rank R and --master HOST:PORT, which training commands take.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

from children import end_with_parent, hangup
from jobs import RANGE, THREADS, JobArray, add_launch_options, failures, parse_job_array, status

OF_THE_SITE = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
LOOK_AT_LOGS_S = 0.5
ASK_QUEUE_S = 10  # rarely: the controller serves everybody
CANCEL_S = 120
LOGS_APPEAR_S = 30  # a shared file system may show a node's last lines late
OVER = {
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
    "REVOKED", "TIMEOUT",
}  # fmt: skip


def main() -> None:
    """Exit 0 if every job did; else 1 with the logs of those that did not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_launch_options(parser)
    parser.add_argument("--sbatch", default="", help="more options for sbatch, in one text")
    parser.add_argument("--num-nodes", type=int, default=1, help="machines of a job")
    args = parser.parse_args()
    interrupts: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM, *hangup()):
        signal.signal(number, lambda received, _frame: interrupts.append(received))
    end_with_parent()
    try:
        array = parse_job_array(args.job)
        job_id = submit(array, args)
        wait(array, job_id, interrupts)
    except (ValueError, OSError) as error:
        sys.exit(f"slurm.py: {error}")
    if interrupts:
        signal.signal(interrupts[0], signal.SIG_DFL)
        os.kill(os.getpid(), interrupts[0])
    if told := failures(array):
        sys.exit(f"slurm.py: Slurm job {job_id}: {told}")


def submit(array: JobArray, args: argparse.Namespace) -> str:
    """Hand the array to sbatch; the id that Slurm gave it.

    Raises:
        ValueError: sbatch refused it.
        OSError: there is no sbatch.
    """
    folder = Path(array.log).parent / "q"
    submitted = folder / (Path(array.log).name + ".id")
    cancel_earlier(submitted)
    for job in array.jobs:  # what an earlier run told must not be taken for this one's
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / (Path(array.log).name + ".sh")
    script.write_text(batch_script(args))
    command = ["sbatch", *sbatch_options(array, args, folder), str(script)]
    # In a session of its own: an interrupt in the middle must not lose the id. Without what a job around this
    # one was told: its array's number and its memory are not the new job's.
    env = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_") or k in OF_THE_SITE}
    done = subprocess.run(command, capture_output=True, text=True, start_new_session=True, env=env)
    job_id = done.stdout.strip().split(";")[0]
    if done.returncode or not job_id.isdigit():
        raise ValueError(f"sbatch refused the job: {(done.stderr or done.stdout).strip()}")
    written = submitted.with_suffix(".tmp")  # half of it would name another job
    written.write_text(f"{job_id} {Path(array.log).name}\n")
    written.replace(submitted)
    return job_id


def cancel_earlier(submitted: Path) -> None:
    """End the jobs of an earlier launch that are still there: two must not write the same files.

    Raises:
        ValueError: they do not end.
    """
    told = read_submitted(submitted)
    if not told:
        return
    job_id, name = told
    give_up_at = time.monotonic() + CANCEL_S
    while in_queue(job_id, name):
        if time.monotonic() > give_up_at:
            raise ValueError(f"Slurm job {job_id} of an earlier launch does not end; try scancel {job_id}")
        subprocess.run(["scancel", job_id], check=False)
        time.sleep(LOOK_AT_LOGS_S)


def read_submitted(path: Path) -> tuple[str, str] | None:
    """Id and name of the job that :func:`submit` noted; None if there is none, or a damaged note."""
    try:
        job_id, name = path.read_text("utf-8").split()
    except (FileNotFoundError, ValueError):
        return None
    return (job_id, name) if job_id.isascii() and job_id.isdigit() and "\0" not in name else None


def batch_script(args: argparse.Namespace) -> str:
    """What runs on a node: the local launcher, for the one job whose number Slurm gives."""
    launcher = shlex.join([sys.executable, str(Path(__file__).resolve().with_name("run.py"))])
    is_array = bool(RANGE.fullmatch(args.job[0]))
    head = 2 if is_array else 1  # [JOB=1:N] LOG
    only = '--only "$SLURM_ARRAY_TASK_ID" ' if is_array else ""
    words = f"{shlex.join(args.job[:head])} {shlex.join(args.job[head:])}"
    if args.num_nodes > 1:
        # The job's first machine, where this script runs, is the one they meet at.
        meet = '"$(hostname):$((20000 + SLURM_JOB_ID % 10000))"'
        node = '\'exec "${@:2}" --num-nodes "$SLURM_NNODES" --node-rank "$SLURM_NODEID" --master "$1"\''
        step = f"srun --kill-on-bad-exit=1 --cpus-per-task={args.num_threads} bash -c {node} node {meet}"
        words = f"{shlex.join(args.job[:head])} {step} {shlex.join(args.job[head:])}"
    # The job's own threads: it would inherit those of the machine that submits it.
    return (
        "#!/usr/bin/env bash\n"
        f"cd {shlex.quote(os.getcwd())} || exit 1\n"
        f"export {' '.join(f'{name}={args.num_threads}' for name in THREADS)}\n"
        f"exec {launcher} {only}{words}\n"
    )


def sbatch_options(array: JobArray, args: argparse.Namespace, folder: Path) -> list[str]:
    """sbatch's words for the launch options."""
    name = Path(array.log).name
    options = ["--parsable", f"--job-name={name}", f"--nodes={args.num_nodes}", "--ntasks-per-node=1"]
    options += [f"--cpus-per-task={args.num_threads}"]
    options += [f"--output={folder}/{name}.%j.out", "--export=ALL"]
    if array.name:
        numbers = ",".join(str(job.number) for job in array.jobs)
        options.append(f"--array={numbers}" + (f"%{args.max_jobs_run}" if args.max_jobs_run else ""))
    options += [f"--mem={args.mem}"] if args.mem else []
    options += [f"--time={args.time}"] if args.time else []
    options += [f"--gres=gpu:{args.gpu}"] if args.gpu else []
    return options + shlex.split(args.sbatch)


def wait(array: JobArray, job_id: str, interrupts: list[int]) -> None:
    """Wait until every log tells an end, or Slurm knows of no job that could still write one.

    A job that was ended with notice may be in the queue again, and begins anew.
    """
    ask_at, give_up_at = time.monotonic() + ASK_QUEUE_S, float("inf")
    while True:
        codes = [status(job.log) for job in array.jobs]
        if not any(code is None or is_notice(code) for code in codes):
            return
        if interrupts:
            subprocess.run(["scancel", job_id], check=False)
            return
        if time.monotonic() > give_up_at:
            return
        if time.monotonic() > ask_at:
            ask_at = time.monotonic() + ASK_QUEUE_S
            lost = not in_queue(job_id)
            if lost and None not in codes:
                return
            give_up_at = min(give_up_at, time.monotonic() + LOGS_APPEAR_S) if lost else float("inf")
        time.sleep(LOOK_AT_LOGS_S)


def is_notice(code: int) -> bool:
    """Whether a command ended so because a signal asked it to: with 75 if it has saved."""
    return code == 75 or code > 128


def in_queue(job_id: str, name: str = "") -> bool:
    """Whether Slurm may still run a part of the job; a controller that does not answer may."""
    ask = ["squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T"]
    ask += [f"--name={name}"] if name else []  # Slurm's numbers begin anew one day
    done = subprocess.run(ask, capture_output=True, text=True)
    if done.returncode:
        return "Invalid job id" not in done.stderr
    return any(state not in OVER for state in done.stdout.split())


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Run a job, or an array of jobs, on this machine, with the habits of Kaldi's run.pl.

utils/run.py [--max-jobs-run N] [JOB=1:N] log/x.JOB.log command... JOB ...
"""

import argparse
import dataclasses
import os
import sys

from children import Children
from jobs import add_launch_options, failures, parse_job_array, run_jobs


def main() -> None:
    """Exit 0 if every job did; else 1 with the logs of those that did not."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_launch_options(parser)
    parser.add_argument("--only", type=int, default=0, help="run only the job of this number")
    args = parser.parse_args()
    try:
        array = parse_job_array(args.job)
        array = dataclasses.replace(array, jobs=tuple(j for j in array.jobs if args.only in (0, j.number)))
    except ValueError as error:
        sys.exit(f"run.py: {error}")
    # The memory, time and GPU options are for schedulers: here they are accepted and have no effect.
    limit = args.max_jobs_run or max(1, cores() // max(1, args.num_threads))
    children = Children(grace_s=10)
    terminal = sys.stderr.isatty() and os.environ.get("SPEECHREP_PROGRESS") != "log"
    try:
        run_jobs(array.jobs, limit, children, terminal)
    except OSError as error:  # a log that cannot be written; the jobs under way end with us
        sys.exit(f"run.py: {error}")
    children.end_like_signal()
    if told := failures(array):
        sys.exit(f"run.py: {told}")


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    main()

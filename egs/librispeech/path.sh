# shellcheck shell=bash
# Sourced by run.sh: where programs are found, and an environment in which results do not depend on the user's.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# An active virtual environment is the user's choice; else the one that `make` made is used.
if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$root/.venv/bin/python" ]; then
  export PATH="$root/.venv/bin:$PATH"
fi
# This checkout's package, whatever is installed.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
export LC_ALL=C PYTHONIOENCODING=UTF-8 PYTHONUNBUFFERED=1

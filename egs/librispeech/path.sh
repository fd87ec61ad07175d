# shellcheck shell=bash
# Sourced by run.sh: where programs are found, and an environment in which results do not depend on the user's.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=../../utils/venv.sh
. "$root/utils/venv.sh"
export LC_ALL=C PYTHONUNBUFFERED=1

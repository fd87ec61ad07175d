#!/usr/bin/env bash
# python -m speechrep.bin.data_dir "$@", with this checkout's package.
set -euo pipefail
root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
. "$root/utils/venv.sh"
exec "${PYTHON:-python3}" -m speechrep.bin.data_dir "$@"

#!/usr/bin/env bash
# Makes the virtual environment .venv in the checkout, with the versions of constraints.txt, unless it is there
# and as setup.py and constraints.txt want it.  PYTHON=python3.12 tools/make_venv.sh picks another Python.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=.venv
python=${PYTHON:-python3}
wanted=$(cat setup.py constraints.txt | cksum)

version() { "$1" --version 2>/dev/null; }
if [ -x "$venv/bin/python" ] && [ "$(cat "$venv/made-from" 2>/dev/null)" = "$wanted" ] &&
  [[ -z ${PYTHON-} || $(version "$PYTHON") = "$(version "$venv/bin/python")" ]]; then
  exit 0
fi
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
  echo "$0: error: Python 3.10 or newer is needed, $python is $("$python" --version 2>&1); set PYTHON=..." >&2
  exit 1
}
echo "$0: installing into $venv, which takes some minutes the first time" >&2
clear=() # what another Python has made, or one that is gone
if [ -e "$venv" ] && [ "$(version "$venv/bin/python")" != "$(version "$python")" ]; then
  clear=(--clear)
  [ ! -L "$venv" ] || {
    echo "$0: error: $venv is a link to an environment of another Python; remove the link or set PYTHON=..." >&2
    exit 1
  }
fi
"$python" -m venv "${clear[@]}" "$venv"
# Isolated: what a PYTHONPATH of the moment leads to is not there later.
"$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check \
  --constraint constraints.txt --editable '.[mini,align,test]'
# Last, so that an interrupted installation is not taken for a whole one.
printf '%s\n' "$wanted" >"$venv/made-from"

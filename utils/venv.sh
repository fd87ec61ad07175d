# shellcheck shell=bash
# Sourced, with ${root} the checkout: where its Python and its package are found.
# An active virtual environment is the user's choice; else the one that `make` made is used.
if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "${root:?}/.venv/bin/python" ]; then
  export PATH="$root/.venv/bin:$PATH"
fi
# This checkout's package, whatever is installed.
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
# Whatever the caller's: files are written in UTF-8, and the scripts here find each other.
export PYTHONIOENCODING=UTF-8
unset PYTHONSAFEPATH

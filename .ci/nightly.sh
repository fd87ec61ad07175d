#!/usr/bin/env bash
# What is too long for every change: slow tests, ten minutes of damaged files per parser, known vulnerabilities.
# Slurm's test runs where tools/install_slurm.sh was run, the browser's where Chromium is or can be installed; make
# audit needs PyPI's JSON interface.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/install_chromium.sh || echo "nightly.sh: no Chromium; nobody looks at the report" >&2
make test-all
make fuzz SECONDS=600
make audit

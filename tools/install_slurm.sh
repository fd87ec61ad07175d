#!/usr/bin/env bash
# Install Debian's Slurm and munge, with which tests/recipe/test_slurm.py runs a recipe as jobs; no daemon is
# left running, the test starts its own.
set -euo pipefail

if command -v slurmctld >/dev/null && command -v munged >/dev/null; then
  echo "Slurm is installed"
  exit 0
fi
# shellcheck source=tools/apt_install.sh
. "${BASH_SOURCE[0]%/*}/apt_install.sh"
# What a site configures is not wanted: plugins for GPUs, documentation, the system's own daemons.
apt_install "install Slurm and munge as your system does" --no-install-recommends slurm-wlm munge
if command -v systemctl >/dev/null; then
  "${sudo[@]}" systemctl disable --now slurmctld slurmd munge >/dev/null 2>&1 || true
fi

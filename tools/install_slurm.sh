#!/usr/bin/env bash
# Install Debian's Slurm and munge, with which tests/recipe/test_slurm.py runs a recipe as jobs; no daemon is
# left running, the test starts its own.
set -euo pipefail

if command -v slurmctld >/dev/null && command -v munged >/dev/null; then
  echo "Slurm is installed"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "install_slurm.sh: no apt-get here; install Slurm and munge as your system does" >&2
  exit 1
fi
sudo=()
[[ $(id -u) -eq 0 ]] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
# What a site configures is not wanted: plugins for GPUs, documentation, the system's own daemons.
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge
if command -v systemctl >/dev/null; then
  "${sudo[@]}" systemctl disable --now slurmctld slurmd munge >/dev/null 2>&1 || true
fi

#!/usr/bin/env bash
# How many cores jobs may use at once: those of the machine, or fewer where a container has a share of them.
#
#     utils/cores.sh [/sys/fs/cgroup]
set -euo pipefail
groups=${1:-/sys/fs/cgroup} cores=$(env -i nproc) quota=max period=0 # microseconds of all cores, in so many
if [ -r "$groups/cpu.max" ]; then
  read -r quota period <"$groups/cpu.max" || true
elif [ -r "$groups/cpu/cpu.cfs_quota_us" ]; then
  quota=$(<"$groups/cpu/cpu.cfs_quota_us") period=$(<"$groups/cpu/cpu.cfs_period_us")
fi
if [[ $quota =~ ^[1-9][0-9]*$ && $period =~ ^[1-9][0-9]*$ ]]; then
  share=$(((quota + period - 1) / period))
  cores=$((share < cores ? share : cores))
fi
echo "$cores"

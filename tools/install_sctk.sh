#!/usr/bin/env bash
# Install NIST's scoring toolkit (sclite, sc_stats), which some tests and benchmarks compare with.
set -euo pipefail

if command -v sctk >/dev/null || command -v sclite >/dev/null; then
  echo "sctk is installed"
  exit 0
fi
if ! command -v apt-get >/dev/null; then
  echo "install_sctk.sh: no apt-get here; build SCTK from https://github.com/usnistgov/SCTK" >&2
  exit 1
fi
sudo=()
[[ $(id -u) -eq 0 ]] || sudo=(sudo)
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" apt-get install -y -qq sctk

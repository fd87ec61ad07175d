#!/usr/bin/env bash
# Install NIST's scoring toolkit (sclite, sc_stats), which some tests and benchmarks compare with.
set -euo pipefail

if command -v sctk >/dev/null || command -v sclite >/dev/null; then
  echo "sctk is installed"
  exit 0
fi
# shellcheck source=tools/apt_install.sh
. "${BASH_SOURCE[0]%/*}/apt_install.sh"
apt_install "build SCTK from https://github.com/usnistgov/SCTK" sctk

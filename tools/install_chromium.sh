#!/usr/bin/env bash
# Install Debian's Chromium, in which tests/unit/test_html_report.py looks at the report.
set -euo pipefail

for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null; then
    echo "$name is installed"
    exit 0
  fi
done
# shellcheck source=tools/apt_install.sh
. "${BASH_SOURCE[0]%/*}/apt_install.sh"
apt_install "install Chromium as your system does" --no-install-recommends chromium

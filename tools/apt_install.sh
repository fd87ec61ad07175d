# shellcheck shell=bash
# Sourced by the installers of Debian's packages.

sudo=()
[[ $(id -u) -eq 0 ]] || sudo=(sudo)

# The first word says what to do where there is no apt-get.
apt_install() { # advice, then options and packages of apt-get install
  if ! command -v apt-get >/dev/null; then
    echo "${0##*/}: no apt-get here; $1" >&2
    exit 1
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${@:2}"
}

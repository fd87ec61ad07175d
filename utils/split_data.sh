#!/usr/bin/env bash
# Kaldi's name for: python -m speechrep.bin.data_dir split
SPEECHREP_TOOL=${0##*/} exec "$(dirname "${BASH_SOURCE[0]}")/data_dir.sh" split "$@"

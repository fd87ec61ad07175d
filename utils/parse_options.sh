# shellcheck shell=bash
# Sourced, never executed: turns `--name value` into the variable of that name, as Kaldi's scripts do.
#
#     stage=0          # first stage to run
#     tag=demo         # name of the experiment
#     . utils/parse_options.sh      # sees the script's own "$@"
#
# Every variable in lower case that is set beforehand is an option, and its default is its type: an integer
# default wants an integer, true or false want one of these, all else takes any text. `--foo-bar` and
# `--foo_bar` are the same. Values are never evaluated. Whatever is wrong ends the script with status 2:
# an unknown option, a missing value, a value of the wrong type, a stray argument.
# `--help` prints ${help_message} and every `name=default  # what it is` line above the sourcing line.
# Afterwards ${given_options} holds the names of the options that were given, each between spaces, and
# ${given_words} the command line's words, quoted where a shell needs it, each after a space.

_options_fail() {
  printf '%s: error: %s\n' "$(basename "$0")" "$1" >&2
  exit 2
}

# The variable that an option word names; fails where there is none.
_options_name() {
  # Patterns, as the letters of a regular expression depend on the locale: a Turkish one has no i from a to z.
  set -- "$1" "${1#--}"
  set -- "$1" "${2//-/_}"
  [[ $1 == --* && $2 == [a-z]* && $2 != *[!a-z0-9_]* ]] || return 1
  [[ $2 != @(given_options|given_words|help_message) ]] || return 1
  [[ -n ${!2+set} ]] || return 1
  printf '%s' "$2"
}

_options_help() {
  printf '%s\n\nOptions (--name value):\n' "${help_message:-Usage: $(basename "$0") [--name value]...}"
  local line option script=${BASH_SOURCE[2]:-}
  # A script that went to its own folder may have been called by a path from elsewhere.
  if [[ ! -r $script ]]; then script=${OLDPWD:-}/$script; fi
  [[ -r $script ]] || return 0
  while IFS= read -r line && [[ $line != *parse_options.sh* || $line == \#* ]]; do
    option=${line%%=*}
    if [[ $line =~ ^[^=]+=[^#]*\#\ (.*)$ ]] && _options_name "--$option" >/dev/null; then
      printf '  --%-18s %s [%s]\n' "${option//_/-}" "${BASH_REMATCH[1]}" "${!option}"
    fi
  done <"$script"
}

_options_check() { # option word, default, value
  local word=$1 default=$2 value=$3
  if [[ $default =~ ^-?[0-9]+$ ]]; then
    # 18 digits fit bash's 64-bit arithmetic; a leading zero would be octal there.
    [[ $value =~ ^(0|-?[1-9][0-9]{0,17})$ ]] || _options_fail "$word wants an integer, not '$value'"
  elif [[ $default == true || $default == false ]]; then
    [[ $value == true || $value == false ]] || _options_fail "$word wants true or false, not '$value'"
  elif [[ -n $default && -z $value ]]; then
    _options_fail "$word needs a value, not an empty text"
  elif [[ -n $value && ! $value =~ [^[:space:]] ]]; then
    _options_fail "$word needs a value, not only blanks"
  fi
}

given_options=" " given_words=
for _option in "$@"; do
  if [[ $_option =~ ^[A-Za-z0-9_./:=,+@%-]+$ ]]; then
    given_words+=" $_option"
  else
    given_words+=" ${_option@Q}"
  fi
  if [[ $_option == --help || $_option == -h ]]; then
    _options_help
    exit 0
  fi
done
while [[ $# -gt 0 ]]; do
  case "$1" in
    --*=*) _options_fail "$1: options are of the form ${1%%=*} ${1#*=}" ;;
    --?*) _option=$(_options_name "$1") || _options_fail "unknown option $1 (--help lists all)" ;;
    *) _options_fail "stray argument '$1' (--help lists the options)" ;;
  esac
  # An option's name in the place of a value is a value forgotten.
  if [[ $# -lt 2 ]] || _options_name "$2" >/dev/null; then
    _options_fail "$1 needs a value"
  fi
  # The type is the default's, also when the option is given twice.
  _default=_default_of_$_option
  [[ -n ${!_default+set} ]] || printf -v "$_default" '%s' "${!_option}"
  _options_check "$1" "${!_default}" "$2"
  printf -v "$_option" '%s' "$2"
  given_options+="$_option "
  shift 2
done
unset _option _default "${!_default_of_@}"
unset -f _options_fail _options_name _options_help _options_check

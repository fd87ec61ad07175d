# shellcheck shell=bash disable=SC2154 # the options are run.sh's
# Sourced by a recipe's run.sh after its options: stages, steps with markers, and small helpers.
# Uses the recipe's ${stage} ${stop_stage} ${expdir} ${tag} ${nj} ${ngpu} ${num_nodes} ${backend} ${verbose}
# ${dry_run}.

cmd=utils/run.py # launcher of the steps that follow; see cmd.sh
steps=$(mktemp)  # those that wait for run_steps
SPEECHREP_DRY_RUN=$(mktemp)
export SPEECHREP_DRY_RUN
trap 'rm -f "$steps" "$SPEECHREP_DRY_RUN"' EXIT

log() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*" >&2 || true; } # of a terminal that was closed

fail() {
  printf '%s: error: %s\n' "${0##*/}" "$1" >&2
  exit 2
}

# The words of all arguments, each once, in order, on one line.
unique() {
  local word words=$* seen=" "
  for word in $words; do
    has_word "$word" "$seen" || seen+="$word "
  done
  seen=${seen# }
  echo "${seen% }"
}

# A row NAME_layer0, NAME_layer1, ... of a table is one layer of NAME, NAME_average the mean of all, NAME_layers all of
# them, mixed by what is trained; NAME_finetune is NAME trained on with the task.
model_of() { # row
  if [[ $1 =~ ^(.+)_(layer([0-9]+|s)|average|finetune)$ ]]; then echo "${BASH_REMATCH[1]}"; else echo "$1"; fi
}
layers_of() { # row
  case $1 in "$(model_of "$1")") echo last ;; *_layers | *_average) echo all ;; *) echo "${1##*_layer}" ;; esac
}

has_word() { [[ " $2 " == *" $1 "* ]]; } # word, words

# Relative paths that were given as options count from where run.sh was called, what is only read also from
# the recipe's folder if it is not there; defaults count from the recipe's folder.
outputs_as_given() { # variable...
  local name
  for name in "$@"; do
    if has_word "$name" "${given_options:?}" && [[ -n ${!name} ]]; then
      printf -v "$name" '%s' "$(output_as_given "${!name}")"
    fi
  done
}
output_as_given() { # path
  local path=$1
  # However it is spelt, steps know a path again by its name; without the recipe's folder it is short to read.
  if [[ $path != /* ]]; then path=${called_from:?}/$path; fi
  path=$(realpath -ms -- "$path")
  path=${path#"$PWD"/}
  path=${path#"$(pwd -P)"/} # the folder may be reached through a link
  if [[ $path == -* ]]; then path=./$path; fi
  echo "$path"
}

inputs_as_given() { # variable...
  local name
  for name in "$@"; do
    if has_word "$name" "${given_options:?}" && [[ -n ${!name} ]]; then
      printf -v "$name" '%s' "$(input_as_given "${!name}")"
    fi
  done
}
input_as_given() { # path
  if [ -e "${called_from:?}/$1" ] || [ ! -e "$1" ]; then output_as_given "$1"; else called_from=$PWD output_as_given "$1"; fi
}

# Name of the data directory of one or more sets: train-clean-100 is train_clean_100, two are joined by +.
set_name() {
  local name=$1
  name=${name// /+}
  name=${name//[-:,]/_}
  # A file name holds 255 bytes, and some are made of two sets' names.
  if [ "${#name}" -gt 60 ]; then name=${name:0:40}_etc_$(cksum <<<"$1" | cut -d ' ' -f 1); fi
  echo "$name"
}

# Refuse options under which no stage would run, and a second run in the same experiment.
begin_recipe() { # number of the last stage
  if [ "$stage" -gt "$stop_stage" ] || [ "$stage" -gt "$1" ] || [ "$stop_stage" -lt 0 ]; then
    fail "no stage to run: stages are 0 to $1, --stage is $stage and --stop-stage $stop_stage"
  fi
  [ "$stop_stage" -le "$1" ] || fail "--stop-stage $stop_stage: stages are 0 to $1"
  [ "$nj" -ge 1 ] || fail "--nj wants 1 or more, not $nj"
  [ "$ngpu" -ge 0 ] || fail "--ngpu wants 0 or more, not $ngpu"
  [ "$num_nodes" -ge 1 ] || fail "--num-nodes wants 1 or more, not $num_nodes"
  if [ "$num_nodes" -gt 1 ] && [ "$backend" = local ]; then
    fail "--num-nodes $num_nodes wants --backend slurm; without it, start speechrep.bin.pretrain on each machine"
  fi
  if [[ $dry_run == false && "$cpu_cmd $pretrain_cmd $train_cmd" == *slurm.py* ]] && ! command -v sbatch >/dev/null; then
    fail "--backend slurm: there is no sbatch here; start the recipe on a machine that has Slurm's commands"
  fi
  local why
  why=$(python -c 'import speechrep.config' 2>&1) ||
    fail "$(command -v python || echo python) lacks packages (${why##*$'\n'}); 'make venv' in the checkout installs them"
  if [ "$ngpu" -gt 0 ] && [ "$backend" = local ] && [ "$dry_run" = false ] && [ "$stop_stage" -ge 2 ]; then
    python -c 'import sys, torch; sys.exit(torch.cuda.device_count() < int(sys.argv[1]))' "$ngpu" ||
      fail "--ngpu $ngpu: PyTorch sees fewer GPUs here; --ngpu 0 computes on the CPU"
  fi
  if [ "$dry_run" = false ]; then
    mkdir -p "$expdir/$tag/logs"
    hold "$expdir/$tag"
  fi
}

# Refuse a second run in a folder, as long as this one or a command of it lives.
hold() { # folder
  exec 9<>"$1/.lock"
  python utils/lock.py 9 || exit 1
}

in_stage() { # number, name
  end_recipe
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  stage_number=$1 stage_name="stage $1 ($2)" stage_began=$SECONDS
  cmd=${cpu_cmd:?}
  log "$stage_name"
}

end_recipe() {
  [ -n "${stage_name:-}" ] || return 0
  [ "$dry_run" = true ] || log "$stage_name done in $(duration $((SECONDS - stage_began)))"
  stage_name=
}

duration() { # seconds
  if [ "$1" -lt 60 ]; then echo "$1 s"; else echo "$(($1 / 60)) min $(($1 % 60)) s"; fi
}

# The file that tells a part of a set: FILE, or FILE@train and FILE@valid for parts of it.
file_of_part() {
  case $1 in *@train | *@valid) echo "${1%@*}" ;; *) echo "$1" ;; esac
}

# Where the marker of a folder lies that other data directories use, too: beside it, if one may write there.
beside() { # folder
  local parent
  parent=$(dirname "$1")
  if [ -w "$parent" ] || [ ! -e "$parent" ]; then echo "$parent"; else echo "$datadir"; fi
}

# Queue a step; run_steps runs it unless it is up to date. Its marker lies in FOLDER/.done, its log in the
# experiment's logs.
step() { # FOLDER NAME [utils/step.py's options] -- command...
  local folder=$1 name=$2
  shift 2
  set -- --marker "$folder/.done/$name" --cmd "$cmd" --dry-run "$dry_run" \
    --verbose "$verbose" --log "$expdir/$tag/logs/${stage_number}_$name.log" "$@"
  printf '%s\0' "$#" "$@" >>"$steps"
}

# Refuse to write over files of data directories that no step of this name has made: its lock stays for ever.
require_own() { # marker, file, how to mend it
  if [ -e "$2" ] && [ ! -e "$datadir/.done/$1.lock" ]; then fail "$2 is there, and not made by this recipe: $3"; fi
}

# A data directory names recordings by absolute paths: where the first is gone the corpus was moved, and the step that
# made it is to run again.
forget_moved() { # marker, data directory
  local first=
  if [ -f "$2/wav.scp" ]; then read -r _ first <"$2/wav.scp" || true; fi
  if [ "$dry_run" = false ] && [[ $first == /* ]] && [ ! -e "$first" ]; then rm -f "$datadir/.done/$1"; fi
}

run_steps() { # how many at once
  local slots=$1
  [ "$dry_run" = false ] || slots=1
  [ "$verbose" -gt 0 ] || export SPEECHREP_PROGRESS=log
  python utils/steps.py --slots "$slots" --cores "$nj" --gpus "$ngpu" <"$steps" || {
    log "$stage_name failed; the same command continues from here"
    exit 1
  }
  : >"$steps"
}

# shellcheck shell=bash disable=SC2034,SC2154 # the options are run.sh's, and it uses what is set here
# Sourced by a recipe's local/plan.sh, after it has worked out its sets: what stages 1 to 5 do, the same for
# every corpus.
#
# Uses the recipe's options, and of its plan:
#     ${confs[@]}                 folders of configurations, the first that has one wins
#     ${pretrain} ${train} ${dev} ${tests} ${labelled}   names of data directories
#     ${feature} ${feature_config}                       acoustic features
#     ${control_tasks}            tasks in which the controls are cheap
#     labels_of TASK              the file of a data directory that has the task's labels, or a path to that of all sets
#     split_of TASK               the parts of the training set that it is trained, validated and tested on; if there
#                                 are none, the sets are its parts
#     check_labels                fails where a task's labels are missing

# Path of a configuration by name.
conf() {
  local folder
  for folder in "${confs[@]}"; do
    if [ -f "$folder/$1.yaml" ]; then break; fi
  done
  echo "$folder/$1.yaml"
}

if [ "$confdir" != conf ]; then
  [ -d "$confdir" ] || fail "--confdir: there is no folder $confdir"
  confs=("$confdir" "${confs[@]}")
fi

# A word given twice would be the same step twice, side by side.
upstreams=$(unique "$upstreams") label_shares=$(unique "$label_shares") share_seeds=$(unique "${share_seeds:-}")

# Path of a task's configuration for a row: that of its kind of row goes first, phone_layers.yaml for apc_layers.
# A model that is trained on has other options, so there must be one.
task_conf() { # task row
  local kind=${2##*_}
  if [[ $kind == finetune || ($kind == layers && -f $(conf "$1_layers")) ]]; then
    conf "$1_$kind"
  else
    conf "$1"
  fi
}

# What keeps the other rows honest, in the tasks where it is cheap: context alone, and random weights.
has_no_weights() { grep -qsE "^upstream: *[\"']?surface" "$(conf "$1")"; } # upstream
control_rows=
if [ "$controls" = true ]; then
  for upstream in $upstreams; do
    case $upstream in
      fbank) control_rows+=" fbank_ctx4" ;;
      *_ctx* | *_untrained | *_layer* | *_average | *_finetune) ;;
      *) has_no_weights "$upstream" || control_rows+=" ${upstream}_untrained" ;;
    esac
  done
fi
all_upstreams=$upstreams
for task in $tasks; do
  if has_word "$task" "$control_tasks"; then all_upstreams=$(unique "$upstreams" "$control_rows"); fi
done
upstreams_of() { # task
  if has_word "$1" "$control_tasks"; then echo "$all_upstreams"; else echo "$upstreams"; fi
}
# Refuse a layer that a model of this configuration will not have, not only once it is trained. What the configuration
# does not tell is left to be asked then: its number of layers may be the default, and a first layer may be one more.
require_layer() { # row
  local model config layers
  model=$(model_of "$1") model=${model%_untrained}
  config=$(conf "$model")
  if [[ ! $1 =~ _layer([0-9]+)$ ]] || [ -e "$upstream_from/$model/model.json" ]; then return 0; fi
  if grep -qE '^(prenet[-_]layers|embedding[-_]layer):' "$config"; then return 0; fi
  layers=$(sed -nE "s/^num[-_]layers: *[\"']?([0-9]+).*/\1/p" "$config")
  [ -z "$layers" ] || { [ "${#BASH_REMATCH[1]}" -lt 9 ] && ((10#${BASH_REMATCH[1]} < layers)); } ||
    fail "row '$1': $config has $layers layers, counted from 0"
}
all_models=
for upstream in $all_upstreams; do
  model=$(model_of "$upstream")
  [ -f "$(conf "${model%_untrained}")" ] ||
    fail "unknown upstream '$upstream': there is no ${model%_untrained}.yaml in ${confs[*]}"
  all_models=$(unique "$all_models" "$model")
  if [ -n "$upstream_from" ] && [ ! -e "$upstream_from/$model/model.json" ] && [[ $model != *_untrained ]] &&
    ! has_no_weights "$model"; then
    fail "--upstream-from: there is no $model in $upstream_from: train it there, or leave it out of --upstreams"
  fi
  require_layer "$upstream"
done

# Features that an upstream reconstructs in place of those it reads: its name to their configuration.
declare -A target_of=()
for word in $targets; do
  upstream=${word%%=*} config=${word#*=}
  if [[ $word != *=?* ]] || ! has_word "$upstream" "${all_models//_untrained/}"; then
    fail "--targets wants UPSTREAM=CONFIG of --upstreams, such as mockingjay_large=conf/linear1025.yaml, not '$word' (no blanks)"
  fi
  grep -qsE "^upstream: *[\"']?mockingjay" "$(conf "$upstream")" ||
    fail "--targets: $upstream, by $(conf "$upstream"), is no mockingjay: others reconstruct what they read"
  if [ -n "$upstream_from" ] && [ -e "$upstream_from/$upstream/model.json" ]; then
    fail "--targets: $upstream is taken from $upstream_from, and not trained"
  fi
  config=$(input_as_given "$config")
  [ -f "$config" ] || fail "--targets: there is no $config"
  [ "${target_of[$upstream]-$config}" = "$config" ] || fail "--targets: two for $upstream"
  for other in "$feature_config" "${target_of[@]}"; do
    [[ $other == "$config" || $(basename "$other" .yaml) != "$(basename "$config" .yaml)" ]] ||
      fail "--targets: $other and $config would share $dumpdir/$(basename "$config" .yaml)"
  done
  target_of[$upstream]=$config
done

# Verification compares mean vectors; every other task trains a model.
trained_tasks=
for task in $tasks; do
  if [ "$task" != verification ]; then trained_tasks+="$task "; fi
done
for task in $trained_tasks; do
  for upstream in $(upstreams_of "$task"); do
    [ -f "$(task_conf "$task" "$upstream")" ] ||
      fail "row '$upstream' of task $task: there is no $(task_conf "$task" "$upstream")"
  done
done

if [ "$tasks" = verification ] && ! grep -qvE '_finetune$' <<<"${all_upstreams// /$'\n'}"; then
  fail "verification trains nothing, so there is none of rows such as '$all_upstreams': name other --upstreams or --tasks"
fi

[ -z "$label_shares" ] || [ -n "$trained_tasks" ] ||
  fail "--label-shares: verification trains nothing on labels; name other --tasks"
for share in $label_shares; do
  [[ $share =~ ^0?\.[0-9]*[1-9][0-9]*$ ]] || fail "--label-shares wants numbers between 0 and 1, such as 0.1, not '$share'"
done
label_shares=$(unique "$(sed -E 's/(^| )0?\./\10./g; s/0+( |$)/\1/g' <<<"$label_shares")") # .50 is 0.5
for draw in $share_seeds; do
  [[ $draw =~ ^[0-9]+$ ]] || fail "--share-seeds wants whole numbers, such as '1 2 3', not '$draw'"
done

exp=$expdir/$tag
feats=$dumpdir/$feature # feature directories by set
reps=$dumpdir/$tag      # stores by upstream and set

# Where an upstream lies: in the experiment of --upstream-from, if that has it, or in this one.
upstream_dir() {
  if [ -n "$upstream_from" ] && [ -e "$upstream_from/$1/model.json" ]; then
    echo "$upstream_from/$1"
  else
    echo "$exp/$1"
  fi
}

# What a task reads of a set: acoustic features where the model is inside the task's, else what it made of them.
input_of() { # row set
  if [[ $1 == *_finetune ]]; then echo "$feats/$2"; else echo "$reps/$1/$2.h5"; fi
}

# On a CPU, one-thread jobs side by side are faster than threads in one. A pre-training takes all GPUs, the
# other jobs one each.
jobs_at_once=$nj pretrainings_at_once=$nj gpu_of_job=0
if [ "$ngpu" -gt 0 ]; then jobs_at_once=$ngpu pretrainings_at_once=1 gpu_of_job=1; fi

# Refuse representations that an experiment of the same name elsewhere has made; stage 3 notes whose they are.
claim_representations() {
  local owner
  [ "$dry_run" = false ] || return 0
  owner=$(cat "$reps/.experiment" 2>/dev/null || true)
  if [ -n "$owner" ] && [ -d "$reps/$owner" ] && [ "$(basename "$owner")" = "$(basename "$tag")" ]; then
    [ ! "$reps/$owner" -ef "$exp" ] && [ ! "$reps/$owner" -ef "$upstream_from" ] || return 0
    fail "$reps holds the representations of $(realpath "$reps/$owner"): choose another --tag or --dumpdir"
  fi
  if [ "$stage_number" -eq 3 ]; then
    mkdir -p "$reps"
    realpath --relative-to="$reps" "$exp" >"$reps/.experiment" # so that all may be moved together
  fi
}

marker_of() { echo "$(dirname "$1")/.done/$(basename "$1")"; } # upstream's folder

# Refuse a model whose training was begun and has not come to its end.
require_trained() { # its marker, the stage that makes it
  if [ "$dry_run" = true ] || [ -e "$1" ] || [ ! -e "$1.started" ]; then return 0; fi
  fail "the training of $(basename "$1") in $(dirname "$(dirname "$1")") was interrupted: run stage $2 there to its end"
}

extract_features() {
  local config configs name
  if [ -n "$array_cmd" ]; then cmd=utils/run.py; fi # its jobs are launched by extract_feats
  extract_sets "$feature" "$feature_config" "$(unique "$pretrain" "$labelled")"
  mapfile -t configs < <(printf '%s\n' "${target_of[@]}" | sort -u) # an empty line, if there is none
  for config in "${configs[@]}"; do
    if [ -n "$config" ] && [ "$config" != "$feature_config" ]; then
      name=$(basename "$config" .yaml)
      log "$name, to be reconstructed"
      extract_sets "$name" "$config" "$(unique "$pretrain" "$dev")"
    fi
  done
  tell_of_lost
}

extract_sets() { # name, configuration, sets
  local set more global feats=$dumpdir/$1
  for set in $3; do
    mapfile -t more < <(python utils/config_inputs.py "$2" "$datadir/$set")
    global=() # statistics that hold for all sets: those of the set that models are pre-trained on
    if [ "$set" != "$pretrain" ] && grep -qsE "^cmvn: *[\"']?global" "$2" &&
      ! grep -qE '^global[-_]cmvn[-_]from:' "$2"; then
      global=("$feats/$pretrain")
    fi
    step "$feats" "$set" --log "$exp/logs/1_$1_$set.log" --in "$2" "$datadir/$set/utt2spk" "${more[@]}" \
      "${global[@]/%//cmvn.ark}" --out "$feats/$set/"{feats.scp,features.json} --own "$feats/$set" \
      --sealed "$feats/$set" -- \
      python -m speechrep.bin.extract_feats --config "$2" --data-dir "$datadir/$set" \
      --out-dir "$feats/$set" --nj "$nj" ${array_cmd:+--cmd "$array_cmd"} "${global[@]/#/--global-cmvn-from=}"
  done
  run_steps 1
}

# Recordings that gave no features: a few may be absent from what is trained on, none from what is scored.
tell_of_lost() {
  local set lost count first task whole=
  [ "$dry_run" = false ] || return 0
  for task in $tasks; do
    if [ -z "$(split_of "$task")" ]; then whole=$tests; fi
  done
  for set in $(unique "$pretrain" "$labelled"); do
    lost=$feats/$set/lost_utterances
    [ -s "$lost" ] || continue
    count=$(wc -l <"$lost") first=$(head -n 1 "$lost")
    if has_word "$set" "$whole"; then
      fail "$count utterances of $set have no features, first $first: mend them or take them out of the set, \
which is scored whole; all are in $lost"
    fi
    log "warning: $count utterances of $set have no features, first $first; all are in $lost"
  done
}

pretrain_one() { # upstream
  local upstream=$1 model trained config untrained more gpus target
  model=$(upstream_dir "$upstream") config=$(conf "${upstream%_untrained}")
  if [ "$model" != "$exp/$upstream" ]; then return; fi # of --upstream-from
  trained=$(upstream_dir "${upstream%_untrained}")
  if [[ $upstream == *_untrained && $trained != "$exp"/* ]]; then # of the same network, whatever conf/ has
    cmd=$cpu_cmd                                                  # nothing is trained
    step "$exp" "$upstream" --in "$trained/"model.{json,safetensors} --out "$model/"model.{json,safetensors} \
      --own "$model" --sealed "$model/"model.{json,safetensors} -- \
      python -m speechrep.bin.untrained --like "$trained" --exp-dir "$model" --seed "$seed"
    return
  fi
  cmd=$pretrain_cmd gpus=$ngpu untrained=()
  if [[ $upstream == *_untrained ]]; then # random weights, only validated
    cmd=$train_cmd gpus=$gpu_of_job untrained=(--max-steps 0 --init-from=)
  fi
  if has_no_weights "$upstream"; then cmd=$cpu_cmd gpus=0; fi
  target=${target_of[${upstream%_untrained}]-}
  if [ -n "$target" ]; then target=$dumpdir/$(basename "$target" .yaml); fi
  mapfile -t more < <(python utils/config_inputs.py "$config")
  step "$exp" "$upstream" --in "$config" "$feats/$pretrain" "$feats/$dev" "${more[@]}" \
    ${target:+"$target/$pretrain" "$target/$dev"} \
    --out "$model/"model.{json,safetensors} --own "$model" --sealed "$model/"model.{json,safetensors} -- \
    python -m speechrep.bin.pretrain --config "$config" --train-dir "$feats/$pretrain" \
    --valid-dir "$feats/$dev" --exp-dir "$model" --seed "$seed" --ngpu "$gpus" "${untrained[@]}" \
    ${target:+--train-target-dir "$target/$pretrain" --valid-target-dir "$target/$dev"}
}

pretrain_upstreams() {
  local upstream wave waves confs_of=()
  for upstream in $all_models; do confs_of+=("$upstream=$(conf "${upstream%_untrained}")"); done
  waves=$(python utils/training_order.py "$exp" "${confs_of[@]}")
  mapfile -t waves <<<"$waves"
  for wave in "${waves[@]}"; do
    for upstream in $wave; do pretrain_one "$upstream"; done
    run_steps "$pretrainings_at_once"
  done
}

represent_sets() {
  local upstream model set array=()
  claim_representations
  cmd=utils/run.py # its jobs are launched by dump
  if [ -n "$cuda_array_cmd" ]; then array=(--nj "$nj" --cmd "$cuda_array_cmd"); fi
  for upstream in $all_upstreams; do
    if [[ $upstream == *_finetune ]]; then continue; fi
    model=$(upstream_dir "$(model_of "$upstream")")
    require_trained "$(marker_of "$model")" 2
    for set in $labelled; do
      step "$reps" "${upstream}_$set" --in "$model/"model.{json,safetensors} "$feats/$set" \
        --out "$reps/$upstream/$set.h5" --sealed "$reps/$upstream/$set.h5" -- \
        python -m speechrep.bin.dump --upstream "$model" --feats-dir "$feats/$set" \
        --out "$reps/$upstream/$set.h5" --layers "$(layers_of "$upstream")" --ngpu "$gpu_of_job" "${array[@]}"
    done
  done
  run_steps "$jobs_at_once"
}

for_each_model() { # tasks, function of task, upstream and, with a part of the labels, share and seed
  local task upstream share draw
  for task in $1; do
    for upstream in $(upstreams_of "$task"); do
      "$2" "$task" "$upstream"
      for share in $label_shares; do
        for draw in $share_seeds; do "$2" "$task" "$upstream" "$share" "$draw"; done
      done
    done
  done
}

# Set the step's ${name}, its ${model}, the ${results} that its scores go to and the ${its_seed}.
name_model() { # task upstream [share seed]
  name=$1_$2 model=$exp/$1_$2 results=$exp/results.json its_seed=$seed
  if [ "$#" -eq 4 ]; then
    name+=_$3_s$4 model=$exp/label_share/$3/$1_$2_s$4 results=$exp/label_share/$3.json its_seed=$4
  fi
}

# What tells parts of the training set that a task uses: the table of speakers, and files of utterances.
split_files() { # task, first part (0, 1, 2), how many
  local part split
  read -ra split <<<"$(split_of "$1")"
  if [ "${#split[@]}" -gt 0 ]; then echo "$datadir/$train/utt2spk"; fi
  for part in "${split[@]:$2:$3}"; do
    part=$(file_of_part "$part")
    if [ -f "$part" ]; then echo "$part"; fi
  done
}

# Paths of the labels of a task in sets.
labels_in() { # task set...
  local labels set
  labels=$(labels_of "$1")
  for set in "${@:2}"; do
    if [[ $labels == /* ]]; then echo "$labels"; else echo "$datadir/$set/$labels"; fi
  done
}

train_one() { # task upstream [share seed]
  local name model results its_seed config valid=$dev split parts=() inside=() label_files lists more
  name_model "$@"
  config=$(task_conf "$1" "$2")
  read -ra split <<<"$(split_of "$1")"
  if [ "${#split[@]}" -gt 0 ]; then valid=$train parts=(--train-split "${split[0]}" --valid-split "${split[1]}"); fi
  mapfile -t lists < <(split_files "$1" 0 2)
  [ "${read_by[$config]+known}" ] || read_by[$config]=$(python utils/config_inputs.py "$config")
  mapfile -t more < <(printf %s "${read_by[$config]}")
  mapfile -t label_files < <(labels_in "$1" "$train" "$valid")
  if [[ $(labels_of "$1") == /* ]]; then parts+=(--labels "${label_files[0]}"); fi
  if [[ $2 == *_average ]]; then parts+=(--layer average); fi
  if [ "$#" -eq 4 ]; then parts+=(--train-proportion "$3"); fi
  if [[ $2 == *_finetune ]]; then
    inside=("$(upstream_dir "$(model_of "$2")")")
    require_trained "$(marker_of "${inside[0]}")" 2
  fi
  step "$exp" "$name" --in "$config" "$(input_of "$2" "$train")" \
    "$(input_of "$2" "$valid")" "${inside[@]/%//model.json}" "${inside[@]/%//model.safetensors}" \
    "${label_files[@]}" "${lists[@]}" "${more[@]}" --out "$model/"model.{json,safetensors} --own "$model" \
    --sealed "$model/"model.{json,safetensors} -- \
    python -m speechrep.bin.train_downstream --task "$1" --config "$config" "${inside[@]/#/--pretrained=}" \
    --exp-dir "$model" --train "$(input_of "$2" "$train")" --train-data "$datadir/$train" \
    --valid "$(input_of "$2" "$valid")" --valid-data "$datadir/$valid" "${parts[@]}" \
    --seed "$its_seed" --ngpu "$gpu_of_job"
}

# The last task first: recognisers take longest, and one that is begun last runs alone.
train_tasks() {
  local task longest_first=''
  local -A read_by=() # what a configuration names, asked once for all rows
  claim_representations
  check_labels
  cmd=$train_cmd
  for task in $trained_tasks; do longest_first="$task $longest_first"; done
  for_each_model "$longest_first" train_one
  run_steps "$jobs_at_once"
}

# The sets that a task is scored on.
tests_of() { # task
  if [ -n "$(split_of "$1")" ]; then echo "$train"; else echo "$tests"; fi
}

# The part of them, if it is not all.
test_part() { # task
  local split
  read -ra split <<<"$(split_of "$1")"
  echo "${split[2]-}"
}

decode_one() { # task upstream [share seed]
  local name model results its_seed set part lists
  name_model "$@"
  require_trained "$exp/.done/$name" 4
  part=$(test_part "$1")
  mapfile -t lists < <(split_files "$1" 2 1)
  for set in $(tests_of "$1"); do
    step "$exp" "decode_${name}_$set" --in "$(conf decode)" "${decoding_reads[@]}" "$model/"model.{json,safetensors} \
      "$(input_of "$2" "$set")" "$(labels_in "$1" "$set")" "${lists[@]}" --out "$model/decode_$set/"{hyp,ref} \
      --sealed "$model/decode_$set/"{hyp,ref} -- python -m speechrep.bin.decode \
      --config "$(conf decode)" --exp-dir "$model" --data "$(input_of "$2" "$set")" --data-dir "$datadir/$set" \
      --out-dir "$model/decode_$set" --ngpu "$gpu_of_job" ${part:+--split "$part"} "${array[@]}"
  done
}

# Make score steps run again where a file of scores is gone, those too that are not asked for now: as soon as one of
# them has begun it anew, the others would find it there.
score_again() { # file [share of the labels]
  if [ -e "$1" ] || [ "$dry_run" = true ]; then return; fi
  if [ "$#" -eq 1 ]; then rm -f "$exp/.done/"{majority,score_*}; else rm -f "$exp/.done/score_"*"_$2_s"*; fi
}

score_one() { # task upstream [share seed]
  local name model results its_seed set part file set_part
  name_model "$@"
  part=$(basename "$(test_part "$1")")
  file=$(file_of_part "$part")
  part=${file%.*}${part/#"$file"/}
  for set in $(tests_of "$1"); do
    set_part=$set${part:+:${part/@/-}}
    if [ "$#" -eq 2 ]; then scored+=("$1/$2/$set_part"); else scored_of_share+=("$1/$2/$set_part@$3#$4"); fi
    step "$exp" "score_${name}_$set" --in "$model/decode_$set/"{hyp,ref} --out "$results" -- \
      python -m speechrep.bin.score --task "$1" --upstream "$2" --features "$feature" --set "$set_part" \
      --seed "$its_seed" --exp-dir "$model" --ref "$model/decode_$set/ref" --hyp "$model/decode_$set/hyp" \
      --out "$results"
  done
}

# Utterances of the same speaker or not, by the cosine of their mean vectors, from which that of the training set
# is taken; of several layers by their mean.
verify_one() { # upstream
  local set layer=()
  if [[ $1 == *_finetune ]]; then return; fi # nothing is trained here
  if [[ $1 == *_layers || $1 == *_average ]]; then layer=(--layer average); fi
  for set in $tests; do
    scored+=("verification/$1/$set")
    step "$exp" "score_verification_$1_$set" --in "$reps/$1/"{"$train","$set"}.h5 "$datadir/$set/utt2spk" \
      --out "$exp/results.json" -- python -m speechrep.bin.verify --data "$reps/$1/$set.h5" \
      --data-dir "$datadir/$set" --center-on "$reps/$1/$train.h5" --upstream "$1" --features "$feature" \
      --set "$set" --seed "$seed" --out "$exp/results.json" "${layer[@]}"
  done
}

decode_and_score() {                           # sets ${scored[@]} to task/upstream/set of all that go to results.json
  local upstream share array=() decoding_reads # of decode_one's commands
  claim_representations
  cmd=utils/run.py # decode launches its jobs
  mapfile -t decoding_reads < <(python utils/config_inputs.py "$(conf decode)")
  if [ -n "$cuda_array_cmd" ]; then array=(--nj "$nj" --cmd "$cuda_array_cmd"); fi
  for_each_model "$trained_tasks" decode_one
  run_steps "$jobs_at_once"
  cmd=$cpu_cmd scored=() scored_of_share=()
  score_again "$exp/results.json"
  for share in $label_shares; do score_again "$exp/label_share/$share.json" "$share"; done
  for_each_model "$trained_tasks" score_one
  if has_word verification "$tasks"; then
    for upstream in $(upstreams_of verification); do verify_one "$upstream"; done
  fi
  run_steps "$nj"
}

report() {
  local upstream model others=() made_by
  [ "$dry_run" = false ] || return 0
  if [ -n "$label_shares" ]; then
    python -m speechrep.bin.label_share --exp-dir "$exp" --order "$all_upstreams $tests" \
      --only "${scored[@]}" "${scored_of_share[@]}"
  fi
  for upstream in $all_models; do
    model=$(upstream_dir "$upstream")
    if [ "$model" != "$exp/$upstream" ]; then others+=("$model"); fi
  done
  # The whole recipe made them, also if a part of it was run once more.
  made_by=$(sed -E 's/ --(stage|stop[-_]stage|verbose) [^ ]+//g' <<<"$command_line")
  python -m speechrep.bin.report --results "$exp/results.json" --out "$exp/RESULTS.md" \
    --html "$exp/report.html" --order "$all_upstreams $tasks $tests" --seed "$seed" --features "$feature" \
    --only "${scored[@]}" "${scored_of_share[@]}" --reused "${others[@]}" --made-by "$made_by"
}

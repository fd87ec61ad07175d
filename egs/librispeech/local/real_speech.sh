#!/usr/bin/env bash
# The comparison on real speech: models pre-trained on an hour of LibriSpeech without transcripts; what a linear
# probe finds in each of their layers of phones, words and speakers; whether two utterances have the same speaker; and
# connected digits recognised from them.
# One table, exp/<tag>/RESULTS.md, and phones against labelled share, exp/<tag>/label_share/.
#
#     local/real_speech.sh DATA [--name value]...
#
# DATA holds librispeech-real/ (audio only), librispeech-phones/ (5 readers, alignments) and digits/.
set -euo pipefail
help_message="Usage: local/real_speech.sh DATA [--name value]..."
given=${1:?which folder? $help_message}
if [[ $given != --* ]]; then shift; fi
data=$(realpath -m -- "$given")
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seeds="1 2 3"                                              # of pre-training and of random weights
models="apc mockingjay"                                    # what is pre-trained, of three layers each
trained=                                                   # experiments that hold the models of each seed, in this order; empty: train them
controls=true                                              # rows of random weights, and of learned sums of layers
parts="phone finetune word speaker verification share asr" # what the table holds (finetune: rows of phone), and share: the figure
shares="0.1 0.5"                                           # of the labelled utterances, for the figure
share_seeds="1 2 3"                                        # each draws its own utterances for each share
share_rows="fbank fbank_ctx4 apc mockingjay_layer1"        # the figure's lines, with the models of the first seed
asr_seeds=                                                 # those of them of which the recogniser is trained too, minutes a model; empty: the first
confdir=conf/hour                                          # configurations
tag=real                                                   # name of the experiment
nj=$(utils/cores.sh)                                       # cores to use
ngpu=0                                                     # GPUs; 0 is the CPU
. utils/parse_options.sh
command_line="egs/librispeech/local/real_speech.sh ${given@Q}$given_words"
. ./path.sh
. utils/recipe.sh
read -ra seed_list <<<"$seeds"
read -ra trained_list <<<"$trained"
first=${seed_list[0]} exp=exp/$tag results=exp/$tag/results.json
for part in finetune share; do
  if has_word $part "$parts" && ! has_word phone "$parts"; then fail "--parts: $part goes with phone"; fi
done
mkdir -p "$exp/folds"
hold "$exp"

recipe() { ./run.sh --confdir "$confdir" --nj "$nj" --ngpu "$ngpu" "$@"; }
config() { if [ -f "$confdir/$1.yaml" ]; then echo "$confdir/$1.yaml"; else echo "conf/$1.yaml"; fi; }

# Every tenth reader is kept for validation.
held_out=19,89,211,307,441,730,1088,1447,1841,2136,2518,2989,3440,3879,4195,4640,5104,5561,6000,6385,6848,7226
dev=train-clean-100:$held_out
phones=(--corpus "$data/librispeech-phones" --alignments "$data/librispeech-phones/alignments" --tasks phone
  --train-sets test-other --dev-sets test-other --test-sets test-other)
digits=(--corpus "$data/digits" --train-sets train-clean --dev-sets dev-clean --test-sets "dev-clean test-clean")
for seed in $seeds; do
  if [ -n "$trained" ]; then break; fi
  recipe --corpus "$data/librispeech-real" --tag "${tag}_s$seed" --tasks speaker --stop-stage 2 --seed "$seed" \
    --upstreams "$models" --controls false --pretrain-sets "train-clean-100:-$held_out" --train-sets "$dev" \
    --dev-sets "$dev" --test-sets "$dev"
done
recipe "${phones[@]}" --upstreams fbank --controls false --tag "${tag}_phones" --stop-stage 1
recipe "${digits[@]}" --upstreams fbank --controls false --tag "${tag}_digits" --tasks speaker --stop-stage 1

# Each of the five readers is tested once, by probes trained on three of the others and tuned on the fourth.
readers=(1688 1998 2033 2414 2609)
list() { # FILE reader...
  local reader
  for reader in "${@:2}"; do
    grep -o "^$reader-[^ ]*" data/test_other/utt2spk || fail "no reader $reader in $data/librispeech-phones"
  done >"$exp/folds/$1"
}
for i in 0 1 2 3 4; do
  list "${readers[i]}.test" "${readers[i]}"
  list "${readers[i]}.valid" "${readers[(i + 1) % 5]}"
  list "${readers[i]}.train" "${readers[(i + 2) % 5]}" "${readers[(i + 3) % 5]}" "${readers[(i + 4) % 5]}"
done
cat "$data"/digits/labels/*.frames.txt >data/digits.frames # an id per 10 ms, of all sets

# What follows prints commands: thousands of seconds would go into starting Python for each.

rows_of() { # seed: its rows; what has no seed belongs to the first, and what the others are held against is first
  local model
  if [ "$1" = "$first" ]; then echo fbank_ctx4 fbank; fi
  for model in $models; do
    if [ "$controls" = true ]; then echo "${model}_untrained" "${model}_untrained_layer1"; fi
    echo "${model}_layer0" "${model}_layer1" "$model"
    # What is trained by steps takes as long as all others together.
    if [ "$1" = "$first" ] && [ "$controls" = true ]; then echo "${model}_layers"; fi
    if [ "$1" = "$first" ] && has_word finetune "$parts"; then echo "${model}_finetune"; fi
  done
}

# The model of a seed, made if it is not to be trained, and its store of each set.
represent() { # seed model
  local folder=exp/${tag}_s$1/$2 given store set steps=()
  if [[ -n $trained ]] && has_word "$2" "$models"; then
    given=$(realpath -m "$trained_of_seed/$2")
    [ -f "$given/model.json" ] || fail "--trained: no model $2 of seed $1 in '$trained_of_seed'"
    if [ -e "$folder" ] && [ ! -L "$folder" ]; then fail "$folder was trained: give another --tag"; fi
    if [ "$(readlink "$folder")" != "$given" ]; then rm -rf "dump/${tag}_s$1/$2"; fi # of another model
    mkdir -p "exp/${tag}_s$1"
    ln -sfn "$given" "$folder"
  elif ! has_word "$2" "$models"; then
    if [[ $2 == *_untrained ]]; then steps=(--max-steps 0); fi
    echo pretrain --config "$(config "${2%_untrained}")" --train-dir dump/fbank80/test_other \
      --valid-dir dump/fbank80/test_other --exp-dir "$folder" --seed "$1" "${steps[@]}"
  fi
  for set in test_other $([[ $parts != *word* && $parts != *speaker* ]] || echo train_clean dev_clean test_clean); do
    store=dump/${tag}_s$1/$2/$set.h5
    if [ "$store" -nt "$folder/model.json" ] && [ "$store" -nt "dump/fbank80/$set/feats.scp" ]; then continue; fi
    echo dump --upstream "$folder" --feats-dir "dump/fbank80/$set" --out "$store" --layers all --ngpu "$ngpu"
  done
}

# Train a probe and let it answer. A set is NAME or NAME@PART.
probe() { # folder seed row config train valid test [option...]
  local reps suffix=.h5 layer set names=() splits=()
  if [[ $3 == *_finetune ]]; then
    reps=dump/fbank80 suffix=''
    layer="--pretrained exp/${tag}_s$2/$(model_of "$3") --ngpu $((ngpu > 0))"
  else
    reps=dump/${tag}_s$2/$(model_of "$3") layer="--layer $(layers_of "$3")"
  fi
  for set in "${@:5:3}"; do
    names+=("${set%%@*}")
    if [[ $set == *@* ]]; then splits+=("${set#*@}"); else splits+=("''"); fi
  done
  echo train_downstream --config "$4" --exp-dir "$1" --seed "$2" "${layer%--layer all}" "${@:8}" \
    --train "$reps/${names[0]}$suffix" --train-data "data/${names[0]}" --train-split "${splits[0]}" \
    --valid "$reps/${names[1]}$suffix" --valid-data "data/${names[1]}" --valid-split "${splits[1]}"
  echo decode --exp-dir "$1" --out-dir "$1/decode" --data "$reps/${names[2]}$suffix" \
    --data-dir "data/${names[2]}" --split "${splits[2]}"
}

# The files that hold what a row's probes said (hyp), or should have said (ref).
answers() { # hyp|ref task folder
  local fold folds=("")
  if [ "$2" = phone ]; then folds=("${readers[@]/#//}"); fi
  for fold in "${folds[@]}"; do printf '%s ' "$3$fold/decode/$1"; done
}

# Whether the speakers of two utterances are the same, of all pairs; centred on themselves, there being no other set.
verify() { # seed row
  local folder=dump/${tag}_s$1
  folder+=/$(model_of "$2")
  echo verify --data "$folder/test_other.h5" --layer "$(layers_of "$2")" --data-dir data/test_other \
    --center-on "$folder/test_other.h5" --upstream "$2" --features fbank80 --set test_other --seed "$1" \
    --out "$results"
}

evaluate() { # task seed row [share seed]; these two: of the labelled utterances
  local out=$exp/$1_s$2_$3 model=$1 kind=phone set=test_clean fold lists versus=() fewer=() scores=$results
  if [ "$#" -eq 5 ]; then
    out=$exp/label_share/$4/$1_$3_s$5 scores=$exp/label_share/$4.json
    fewer=(--train-proportion "$4" --seed "$5")
  fi
  if [[ $3 =~ _(layers|finetune)$ ]]; then model+=${BASH_REMATCH[0]}; fi
  model=$(config "$model")
  case $1 in
    phone)
      set=test_other
      for fold in "${readers[@]}"; do
        lists=("$exp/folds/$fold".{train,valid,test})
        probe "$out/$fold" "$2" "$3" "$model" "${lists[@]/#/test_other@}" --task phone "${fewer[@]}"
      done
      ;;
    word)
      probe "$out" "$2" "$3" "$model" train_clean dev_clean test_clean --task phone --labels data/digits.frames
      ;;
    speaker)
      kind=speaker set=train_clean:test
      probe "$out" "$2" "$3" "$model" train_clean@{train,valid,test} --task speaker
      ;;
  esac
  if [ "$kind" = phone ] && [ "$3" != fbank_ctx4 ] && [ "$#" -eq 3 ]; then
    versus=(--baseline fbank_ctx4 --baseline-hyp "$(answers hyp "$1" "$exp/$1_s${first}_fbank_ctx4")")
  fi
  echo score --task "$kind" --name "$1" --exp-dir "$out${fold:+/$fold}" --upstream "$3" --features fbank80 --set "$set" \
    --seed "${5:-$2}" --ref "$(answers ref "$1" "$out")" --hyp "$(answers hyp "$1" "$out")" "${versus[@]}" \
    --out "$scores"
}

for i in "${!seed_list[@]}"; do
  seed=${seed_list[i]} trained_of_seed=${trained_list[i]:-} stored=" "
  for row in $(rows_of "$seed"); do
    model=$(model_of "$row")
    if ! has_word "$model" "$stored"; then represent "$seed" "$model"; fi
    stored+="$model "
    for task in phone word speaker; do
      if ! has_word "$task" "$parts" || [[ $row =~ _(layers|finetune)$ && $task != phone ]]; then continue; fi
      evaluate "$task" "$seed" "$row"
    done
    if has_word verification "$parts" && [[ ! $row =~ _(layers|finetune)$ ]]; then verify "$seed" "$row"; fi
    if has_word share "$parts" && [ "$seed" = "$first" ] && has_word "$row" "$share_rows"; then
      for share in $shares; do
        for draw in $share_seeds; do evaluate phone "$seed" "$row" "$share" "$draw"; done
      done
    fi
  done
done >"$exp/commands"
python -m speechrep.bin.many <"$exp/commands"

if has_word share "$parts"; then python -m speechrep.bin.label_share --exp-dir "$exp" --order "$share_rows"; fi

all_results=("$results")
asr_confdir=$confdir
if [ "$confdir" = conf/hour ]; then asr_confdir=conf/hour_ctc; fi # digits are known words
if has_word asr "$parts"; then
  for seed in ${asr_seeds:-$first}; do
    recipe "${digits[@]}" --tasks asr --upstreams "fbank $models" --tag "${tag}_asr_s$seed" --seed "$seed" \
      --upstream-from "exp/${tag}_s$seed" --confdir "$asr_confdir"
    all_results+=("exp/${tag}_asr_s$seed/results.json")
  done
fi

python -m speechrep.bin.report --results "${all_results[@]}" --out "$exp/RESULTS.md" --metrics "accuracy eer min_dcf wer" \
  --order "$(rows_of "$first" | tr '\n' ' ') phone word speaker verification asr" --made-by "$command_line"
log "the whole took $(duration "$SECONDS")"

#!/usr/bin/env bash
# LibriSpeech, or any corpus in its layout: pre-train upstreams, then compare what tasks make of them.
#
#     ./run.sh --corpus mini                           # minutes, on a small corpus that is generated
#     ./run.sh --corpus librispeech --ngpu 1 --tag ls100
#     ./run.sh --corpus ~/my_corpus --train-sets train --dev-sets dev --test-sets "test-a test-b"
#
# What is done, and whose inputs and options are as they were, is not done again.
set -euo pipefail
help_message="Usage: ./run.sh [--name value]...
Stages: 0 data, 1 features, 2 pre-training, 3 representations, 4 downstream training, 5 scores and table."
called_from=$PWD
command_line="egs/librispeech/run.sh $*"
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=0                          # first stage to run
stop_stage=5                     # last stage to run
corpus=mini                      # mini (generated), librispeech (downloaded) or a folder in LibriSpeech layout
corpus_dir=                      # where mini is made or librispeech downloaded; empty: download/<corpus>
download_url=                    # mirror of LibriSpeech, or a folder that holds its archives; empty: OpenSLR
pretrain_sets=                   # sets to pre-train on, transcripts are not needed; empty: those of --train-sets
train_sets=                      # sets to train tasks on; SET:READER,READER is only these readers of a set
dev_sets=                        # sets that pick the best model
test_sets=                       # sets to score on, each by itself
alignments=                      # folder of phone alignments <set>/<speaker>/<chapter>/<utterance>.TextGrid
aligner=none                     # none, or pocketsphinx: align the phones where there are no --alignments
feature_config=conf/fbank80.yaml # acoustic features
confdir=conf                     # folder whose configurations go before those of conf
upstreams="fbank apc mockingjay" # representations to compare, each a conf/<name>.yaml
controls=true                    # compare with context alone and with random weights (phone, speaker)
upstream_from=                   # experiment whose upstreams are used instead of training them
tasks="phone speaker asr"        # downstream tasks
tag=demo                         # name of the experiment
expdir=exp                       # experiments: models, logs, results
dumpdir=dump                     # features and representations
datadir=data                     # Kaldi data directories
ngpu=0                           # GPUs; 0 is the CPU
nj=$(getconf _NPROCESSORS_ONLN)  # cores to use, jobs at once
backend=local                    # local or slurm, see cmd.sh
seed=1                           # seed of all training
dry_run=false                    # true: only tell what would run, and why
verbose=1                        # 0: a line per stage, 1: also per step, 2: also the commands
. utils/parse_options.sh
. ./path.sh
. ./cmd.sh
. utils/recipe.sh
. local/plan.sh
begin_recipe 5

if in_stage 0 "data of $corpus"; then
  if [ "$corpus" = mini ]; then
    step "$datadir" mini_corpus --in "$(conf mini_corpus)" --out "$corpus_root/SPEAKERS.TXT" -- \
      python -m speechrep.bin.make_mini_corpus --config "$(conf mini_corpus)" --out-dir "$corpus_dir" --nj "$nj"
  elif [ "$corpus" = librispeech ]; then
    step "$datadir" download --out "${downloaded[@]}" -- python -m speechrep.bin.download_librispeech \
      --parts "$all_folders" --out-dir "$corpus_dir" ${download_url:+--url "$download_url"}
  fi
  run_steps 1
  for folder in $all_folders; do
    set=$(set_name "$folder") data=$datadir/$set phones=() phones_in=()
    if needs_phones "$folder" && [ -n "$alignments" ]; then
      phones=(--alignments "$alignments") phones_in=("$alignments/$folder")
    fi
    step "$datadir" "$set" --in "$corpus_root/SPEAKERS.TXT" "$corpus_root/$folder" "${phones_in[@]}" \
      --out "$data/wav.scp" -- python -m speechrep.bin.prepare_librispeech --corpus "$corpus_root" \
      --sets "$folder" --out-dir "$datadir" "${phones[@]}"
    if needs_phones "$folder" && [ "$aligner" != none ]; then
      step "$datadir" "${set}_phones" --in "$data/"{wav.scp,text} --out "$data/phones.ctm" -- \
        python -m speechrep.bin.align_phones --data-dir "$data" --aligner "$aligner" --nj "$nj"
    fi
  done
  run_steps 1
  combine_sets
  run_steps 1
  check_labels
fi

if in_stage 1 "features $feature"; then
  if [ -n "$array_cmd" ]; then cmd=utils/run.py; fi # its jobs are launched by extract_feats
  for set in $(unique "$pretrain" "$labelled"); do
    find_audio "$set"
    step "$feats" "$set" --in "$feature_config" "$datadir/$set/"{wav.scp,utt2spk} "${audio[@]}" \
      --out "$feats/$set/"{feats.scp,features.json} --own "$feats/$set" -- \
      python -m speechrep.bin.extract_feats --config "$feature_config" --data-dir "$datadir/$set" \
      --out-dir "$feats/$set" --nj "$nj" ${array_cmd:+--cmd "$array_cmd"}
  done
  run_steps 1
fi

if in_stage 2 "pre-training"; then
  cmd=$cuda_cmd
  for upstream in $all_upstreams; do
    model=$(upstream_dir "$upstream") config=$(conf "${upstream%_untrained}") untrained=()
    if [ "$model" != "$exp/$upstream" ]; then continue; fi # of --upstream-from
    if [[ $upstream == *_untrained ]]; then untrained=(--max-steps 0); fi
    step "$exp" "$upstream" --in "$config" "$feats/$pretrain" "$feats/$dev" \
      --out "$model/"model.{json,safetensors} --own "$model" -- \
      python -m speechrep.bin.pretrain --config "$config" --train-dir "$feats/$pretrain" \
      --valid-dir "$feats/$dev" --exp-dir "$model" --seed "$seed" --ngpu "$ngpu" "${untrained[@]}"
  done
  run_steps "$pretrainings_at_once"
fi

if in_stage 3 "representations"; then
  cmd=$cuda_cmd
  for upstream in $all_upstreams; do
    model=$(upstream_dir "$upstream")
    for set in $labelled; do
      step "$reps" "${upstream}_$set" --in "$model/"model.{json,safetensors} "$feats/$set" \
        --out "$reps/$upstream/$set.h5" -- python -m speechrep.bin.dump --upstream "$model" \
        --feats-dir "$feats/$set" --out "$reps/$upstream/$set.h5" --ngpu "$gpu_of_job"
    done
  done
  run_steps "$jobs_at_once"
fi

if in_stage 4 "downstream training"; then
  check_labels
  cmd=$cuda_cmd
  for task in $tasks; do
    labels=$(labels_of "$task") valid=$dev parts=()
    if [ "$task" = speaker ]; then valid=$train parts=(--train-split train --valid-split valid); fi
    for upstream in $(upstreams_of "$task"); do
      model=$exp/${task}_$upstream
      step "$exp" "${task}_$upstream" --in "$(conf "$task")" "$reps/$upstream/"{"$train","$valid"}.h5 \
        "$datadir/"{"$train","$valid"}"/$labels" --out "$model/"model.{json,safetensors} --own "$model" -- \
        python -m speechrep.bin.train_downstream --task "$task" --config "$(conf "$task")" --exp-dir "$model" \
        --train "$reps/$upstream/$train.h5" --train-data "$datadir/$train" \
        --valid "$reps/$upstream/$valid.h5" --valid-data "$datadir/$valid" "${parts[@]}" \
        --seed "$seed" --ngpu "$gpu_of_job"
    done
  done
  run_steps "$jobs_at_once"
fi

decode_one() { # task upstream set
  local model=$exp/$1_$2 part=()
  if [ "$1" = speaker ]; then part=(--split test); fi
  step "$exp" "decode_$1_$2_$3" --in "$(conf decode)" "$model/"model.{json,safetensors} "$reps/$2/$3.h5" \
    "$datadir/$3/$(labels_of "$1")" --out "$model/decode_$3/"{hyp,ref} -- python -m speechrep.bin.decode \
    --config "$(conf decode)" --exp-dir "$model" --data "$reps/$2/$3.h5" --data-dir "$datadir/$3" \
    --out-dir "$model/decode_$3" --ngpu "$gpu_of_job" "${part[@]}"
}

score_one() { # task upstream set
  local model=$exp/$1_$2
  step "$exp" "score_$1_$2_$3" --in "$model/decode_$3/"{hyp,ref} --out "$exp/results.json" -- \
    python -m speechrep.bin.score --task "$1" --upstream "$2" --features "$feature" --set "$3" --seed "$seed" \
    --exp-dir "$model" --ref "$model/decode_$3/ref" --hyp "$model/decode_$3/hyp" --out "$exp/results.json"
}

if in_stage 5 "decoding and scores"; then
  cmd=$cuda_cmd
  for_each_test decode_one
  run_steps "$jobs_at_once"
  cmd=$cpu_cmd
  for_each_test score_one
  run_steps "$nj"
  end_recipe
  report
fi
end_recipe

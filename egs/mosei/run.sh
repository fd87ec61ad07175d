#!/usr/bin/env bash
# CMU-MOSEI: how much sentiment do representations of speech carry?
#
#     ./run.sh --mosei-dir mini                         # minutes, on a miniature that is generated
#     ./run.sh --mosei-dir ~/CMU_MOSEI --upstream-from ../librispeech/exp/demo --tag mosei
#     ./run.sh --mosei-dir ~/CMU_MOSEI --protocol mockingjay --tag mosei_mockingjay
#
# What is done, and whose inputs and options are as they were, is not done again.
set -euo pipefail
help_message="Usage: ./run.sh [--name value]...
Stages: 0 data, 1 features, 2 pre-training, 3 representations, 4 downstream training, 5 scores and table."
called_from=$PWD
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")"

stage=0                                # first stage to run
stop_stage=5                           # last stage to run
mosei_dir=mini                         # mini (generated) or the folder of the corpus, the one that holds Raw/
corpus_dir=                            # where mini is made; empty: download/mini
labels=                                # label file, .csd or S3PRL's .csv; empty: found in --mosei-dir
folds=                                 # folder of train.txt, valid.txt, test.txt; empty: see README.md
protocol=standard                      # standard folds, or mockingjay: that paper's own split; not comparable
feature_config=conf/fbank80_video.yaml # acoustic features
confdir=conf                           # folder whose configurations go before those of conf
upstreams="fbank apc mockingjay"       # representations, each a conf/<name>.yaml, <name>_layer0, _average, _layers or _finetune
targets=                               # features to reconstruct instead of those that are read: UPSTREAM=../librispeech/conf/FEATURES.yaml for each such upstream
controls=true                          # compare with context alone, with random weights, and with one same answer
upstream_from=                         # experiment whose upstreams, and whose features, are used: none is trained
label_shares=                          # shares such as "0.01 0.1" of the labelled utterances to train on too: a figure
share_seeds="1 2 3"                    # each draws its own utterances for each share
tag=                                   # name of the experiment; empty: demo or mosei and what is not default
expdir=exp                             # experiments: models, logs, results
dumpdir=dump                           # features and representations
datadir=data                           # Kaldi data directories
ngpu=0                                 # GPUs, of each machine; 0 is the CPU
num_nodes=1                            # machines that train a model together; more than one with --backend slurm
nj=$(utils/cores.sh)                   # cores to use, jobs at once
backend=local                          # local or slurm, see cmd.sh
seed=1                                 # seed of all training
dry_run=false                          # true: only tell what would run, and why
verbose=1                              # 0: a line per stage, 1: also per step, 2: also the commands
. utils/parse_options.sh
command_line="egs/mosei/run.sh$given_words"
. ./path.sh
. ./cmd.sh
. utils/recipe.sh
. local/plan.sh
begin_recipe 5

if in_stage 0 "data of $mosei_dir"; then
  for set in $train $dev $tests; do
    require_own "${prefix}sets" "$datadir/$set/utt2spk" "choose another --datadir"
  done
  if [ "$mini" = true ]; then
    # The marker beside the corpus: other experiments may make it, too, in their own way.
    step "$(beside "$mosei_dir")" "corpus_$(basename "$mosei_dir")" --in "$(conf mini_mosei)" \
      --out "$mosei_dir/CMU_MOSEI_Labels.csd" -- \
      python -m speechrep.bin.make_mini_mosei --config "$(conf mini_mosei)" --out-dir "$mosei_dir" --nj "$nj"
    run_steps 1
  fi
  forget_moved "${prefix}sets" "$datadir/$train"
  step "$datadir" "${prefix}sets" --in "$mosei_dir" ${labels:+"$labels"} ${folds:+"$folds"} ${default_folds:+"$default_folds"} \
    --out "$datadir/"{"$train","$dev","$tests"}{,/wav.scp,/segments,/text,/utt2spk,/spk2utt,/utt2dur,/utt2sentiment} "$datadir/${prefix}hazards.tsv" -- \
    python -m speechrep.bin.prepare_mosei --mosei-dir "$mosei_dir" --labels "$labels" --folds "$folds" \
    --default-folds "$default_folds" --protocol "$protocol" --prefix "${prefix%mockingjay_}" --out-dir "$datadir"
  run_steps 1
fi

if in_stage 1 "features $feature"; then
  if [ -n "$upstream_from" ]; then
    step "$feats" conf --in "${reused[@]/%//model.json}" --out "$feature_config" -- \
      python -m speechrep.bin.feature_conf --models "${reused[@]}" --out "$feature_config"
    run_steps 1
  fi
  extract_features
fi

if in_stage 2 "pre-training"; then pretrain_upstreams; fi

if in_stage 3 "representations"; then represent_sets; fi

if in_stage 4 "downstream training"; then train_tasks; fi

if in_stage 5 "decoding and scores"; then
  decode_and_score
  if [ "$controls" = true ]; then
    scored+=("sentiment/majority/$tests")
    step "$exp" majority --in "$datadir/"{"$train","$tests"}/utt2sentiment --out "$exp/results.json" -- \
      python -m speechrep.bin.score_majority --train-data "$datadir/$train" --data-dir "$datadir/$tests" \
      --set "$tests" --features "$feature" --seed "$seed" --out "$exp/results.json"
    run_steps 1
  fi
  end_recipe
  report
fi
end_recipe

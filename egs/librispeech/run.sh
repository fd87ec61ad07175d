#!/usr/bin/env bash
# LibriSpeech, or any corpus in its layout: pre-train upstreams, then compare what tasks make of them.
#
#     ./run.sh --corpus mini                           # minutes, on a small corpus that is generated
#     ./run.sh --corpus librispeech --ngpu 1 --tag ls100 --aligner pocketsphinx
#     ./run.sh --corpus ~/my_corpus --train-sets train --dev-sets dev --test-sets "test-a test-b" \
#       --tasks "speaker verification asr" --ngpu 1 --tag mine
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
corpus=mini                            # mini (generated), librispeech (downloaded), a folder in its layout, or none: data directories are there
corpus_dir=                            # where mini is made or librispeech downloaded; empty: download/<corpus>
download_url=                          # mirror of LibriSpeech, or a folder that holds its archives; empty: OpenSLR
pretrain_sets=                         # sets to pre-train on, need no transcripts; empty: those of --train-sets
train_sets=                            # sets to train tasks on; SET:READER,READER: these readers; SET:-READER: all but
dev_sets=                              # sets that pick the best model
test_sets=                             # sets to score on, each by itself
alignments=                            # folder of phone alignments <set>/<speaker>/<chapter>/<utterance>.TextGrid
phone_labels=                          # phone labels of all sets instead: a file or folder as docs/downstream.md tells
phone_split=                           # three parts of the training set for phones, else its sets; as docs/downstream.md
speaker_split="train valid test"       # parts of the training set that speakers are trained, validated and tested on
aligner=none                           # none, or pocketsphinx: align the phones where there are no --alignments
feature_config=conf/fbank80.yaml       # acoustic features
confdir=conf                           # folder whose configurations go before those of conf
upstreams="fbank apc mockingjay"       # representations, each a conf/<name>.yaml, <name>_layer0, _average, _layers or _finetune
targets=                               # features to reconstruct instead of those that are read: UPSTREAM=conf/FEATURES.yaml for each such upstream
controls=true                          # compare with context alone and with random weights (phone, speaker, verification)
upstream_from=                         # experiment whose upstreams are used instead of training them
tasks="phone speaker verification asr" # downstream tasks
label_shares=                          # shares such as "0.01 0.1" of the labelled utterances to train on too: a figure
share_seeds="1 2 3"                    # each draws its own utterances for each share
tag=                                   # name of the experiment; empty: demo, or demo_<features> if not fbank80
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
command_line="egs/librispeech/run.sh$given_words"
. ./path.sh
. ./cmd.sh
. utils/recipe.sh
. local/plan.sh
begin_recipe 5

if in_stage 0 "data of $corpus"; then
  check_phones
  check_data
  if [ "$corpus" = mini ]; then
    # The marker beside the corpus: other experiments may make it, too, in their own way.
    step "$(beside "$corpus_dir")" "corpus_$(basename "$corpus_dir")" --in "$(conf mini_corpus)" \
      --out "$corpus_root" "$corpus_dir/alignments" -- \
      python -m speechrep.bin.make_mini_corpus --config "$(conf mini_corpus)" --out-dir "$corpus_dir" --nj "$nj"
  elif [ "$corpus" = librispeech ] && [ "$corpus_root" != "$corpus_dir" ]; then # else it is there already
    step "$datadir" download --out "$corpus_root" "${downloaded[@]}" -- \
      python -m speechrep.bin.download_librispeech --parts "$all_folders" --out-dir "$corpus_dir" \
      ${download_url:+--url "$download_url"}
  fi
  run_steps 1
  for folder in $all_folders; do
    set=$(set_name "$folder") data=$datadir/$set phones=() phones_in=() phones_out=()
    # Of mini also where no task wants them: other experiments use the data directory, too.
    if [ -n "$alignments" ] && { needs_phones "$folder" || [ "$corpus" = mini ]; }; then
      phones=(--alignments "$alignments") phones_in=("$alignments/$folder") phones_out=("$data/phones.ctm")
      [ "$dry_run" = true ] || rm -f "$datadir/.done/${set}_phones" # those of an aligner are replaced
    fi
    if [ "$corpus" != none ]; then
      forget_moved "$set" "$data"
      step "$datadir" "$set" --in "$corpus_root/SPEAKERS.TXT" "$corpus_root/$folder" "${phones_in[@]}" \
        --out "$data"{,/wav.scp,/utt2spk,/spk2utt,/spk2gender,/utt2dur} "${phones_out[@]}" -- python -m speechrep.bin.prepare_librispeech \
        --corpus "$corpus_root" --sets "$folder" --out-dir "$datadir" "${phones[@]}"
    fi
  done
  run_steps 1
  for folder in $all_folders; do
    set=$(set_name "$folder") data=$datadir/$set
    if needs_phones "$folder" && [ "$aligner" != none ]; then
      [ "$dry_run" = true ] || [ -f "$data/text" ] ||
        fail "--aligner $aligner needs $data/text: a set without *.trans.txt has none; leave phone out of --tasks or name other sets"
      step "$datadir" "${set}_phones" --in "$data/"{wav.scp,text} --out "$data/phones.ctm" -- \
        python -m speechrep.bin.align_phones --data-dir "$data" --aligner "$aligner" --nj "$nj"
    fi
  done
  run_steps 1
  combine_sets
  run_steps 1
  check_labels
  warn_of_shared_speakers
fi

if in_stage 1 "features $feature"; then extract_features; fi

if in_stage 2 "pre-training"; then pretrain_upstreams; fi

if in_stage 3 "representations"; then represent_sets; fi

if in_stage 4 "downstream training"; then train_tasks; fi

if in_stage 5 "decoding and scores"; then
  decode_and_score
  end_recipe
  report
fi
end_recipe

# shellcheck shell=bash disable=SC2034,SC2154 # the options are run.sh's, and it uses what is set here
# Sourced by run.sh: what its options mean. Where the corpus lies, which sets there are.

mini=false prefix=
if [ "$mosei_dir" = mini ]; then
  outputs_as_given corpus_dir
  mini=true mosei_dir=${corpus_dir:-download/mini} prefix=mini_
  confs=(conf/small conf ../librispeech/conf/small ../librispeech/conf)
else
  [ -z "$corpus_dir" ] || fail "--corpus-dir goes with --mosei-dir mini, not with a folder"
  inputs_as_given mosei_dir
  [ -d "$mosei_dir" ] || fail "--mosei-dir wants mini or the folder that holds Raw/; there is no $mosei_dir"
  confs=(conf ../librispeech/conf)
fi
outputs_as_given expdir dumpdir datadir
inputs_as_given labels folds feature_config confdir upstream_from
case $protocol in
  standard) ;;
  mockingjay)
    prefix+=mockingjay_
    if [ "$mini" = false ]; then confs=(conf/mockingjay "${confs[@]}"); fi
    ;;
  *) fail "--protocol wants standard or mockingjay, not '$protocol'" ;;
esac

train=${prefix}train dev=${prefix}valid tests=${prefix}test
pretrain=$train
labelled="$train $dev $tests"
default_folds= # the corpus' own, unless it or its labels bring others
if [ "$protocol" = standard ]; then
  if [ "$mini" = false ]; then default_folds=conf/standard_folds; fi
else
  [ -z "$folds" ] || fail "--folds: the protocol $protocol has its own"
fi
[ -z "$folds" ] || [ -d "$folds" ] || fail "--folds: there is no folder $folds"

feature=$(basename "$feature_config" .yaml)
reused=() # models of --upstream-from
if [ -n "$upstream_from" ]; then
  has_word feature_config "$given_options" && fail "--upstream-from brings its features: leave out --feature-config"
  feature=like_$(basename "$upstream_from") feature_config=$dumpdir/like_$(basename "$upstream_from").yaml
  for upstream in $upstreams; do
    model=$upstream_from/$(model_of "$upstream")
    if [ -e "$model/model.json" ]; then reused+=("$model"); fi
  done
  [ "${#reused[@]}" -gt 0 ] || fail "--upstream-from: none of '$upstreams' is in $upstream_from"
else
  [ -f "$feature_config" ] || fail "--feature-config: there is no $feature_config"
fi

if [ -z "$tag" ]; then # another protocol, or other features, is another experiment
  if [ "$mini" = true ]; then tag=demo; else tag=mosei; fi
  if [ "$protocol" != standard ]; then tag+=_$protocol; fi
  if [ "$feature" != fbank80_video ]; then tag+=_$feature; fi
fi

tasks=sentiment control_tasks=sentiment
labels_of() { echo utt2sentiment; }
split_of() { :; }
check_labels() { :; } # stage 0 makes no set without
. utils/stages.sh

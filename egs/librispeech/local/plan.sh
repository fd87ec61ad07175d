# shellcheck shell=bash disable=SC2034,SC2154 # the options are run.sh's, and it uses what is set here
# Sourced by run.sh: what its options mean. Where the corpus lies, which sets and rows there are.

paths_as_given corpus_dir alignments feature_config confdir upstream_from expdir dumpdir datadir

default_sets() { # for --train-sets, --dev-sets and --test-sets where they are not given
  train_sets=${train_sets:-$1} dev_sets=${dev_sets:-$2} test_sets=${test_sets:-$3}
  pretrain_sets=${pretrain_sets:-$train_sets}
}
case "${corpus:?}" in
  mini)
    corpus_dir=${corpus_dir:-download/mini}
    if [ "$aligner" = none ]; then alignments=${alignments:-$corpus_dir/alignments}; fi
    default_sets mini-train mini-dev mini-test
    ;;
  librispeech)
    corpus_dir=${corpus_dir:-download/librispeech}
    default_sets train-clean-100 dev-clean test-clean
    ;;
  *)
    [ -z "$corpus_dir" ] || fail "--corpus-dir goes with --corpus mini or librispeech, not with a folder"
    paths_as_given corpus
    corpus_dir=$corpus
    [ -f "$corpus/SPEAKERS.TXT" ] || [ -f "$corpus/LibriSpeech/SPEAKERS.TXT" ] || fail \
      "--corpus wants mini, librispeech or a folder; no SPEAKERS.TXT in $corpus nor in $corpus/LibriSpeech"
    default_sets train-clean-100 dev-clean test-clean
    ;;
esac
corpus_root=$corpus_dir/LibriSpeech
if [ -f "$corpus_dir/SPEAKERS.TXT" ]; then corpus_root=$corpus_dir; fi

# Path of a configuration by name: of --confdir, of conf/small for the mini corpus, or of conf.
confs=(conf)
if [ "$corpus" = mini ]; then confs=(conf/small conf); fi
if [ "$confdir" != conf ]; then confs=("$confdir" "${confs[@]}"); fi
conf() {
  local folder
  for folder in "${confs[@]}"; do
    if [ -f "$folder/$1.yaml" ]; then break; fi
  done
  echo "$folder/$1.yaml"
}

# The folders of the corpus behind sets: a set may be FOLDER:READER,READER.
folders() {
  local set sets=$* found=
  for set in $sets; do found+=" ${set%%:*}"; done
  unique "$found"
}

pretrain=$(set_name "$pretrain_sets") train=$(set_name "$train_sets") dev=$(set_name "$dev_sets")
tests=
for set in $test_sets; do tests+=" $(set_name "$set")"; done
labelled=$(unique "$train" "$dev" "$tests") # data directories whose labels are used
labelled_folders=$(folders "$train_sets" "$dev_sets" "$test_sets")
all_folders=$(folders "$pretrain_sets" "$labelled_folders")
downloaded=()
for folder in $all_folders; do downloaded+=("$corpus_root/$folder/.complete"); done

# Queue what makes the data directories of sets that are several folders, or some readers of one.
combine_sets() {
  local sets set name parts made=" "
  for sets in "$pretrain_sets" "$train_sets" "$dev_sets" $test_sets; do
    parts=()
    for set in $sets; do
      name=$(set_name "$set")
      parts+=("$datadir/$name")
      if [[ $set != *:* || $made == *" $name "* ]]; then continue; fi
      made+="$name "
      list_speakers "$set" "$datadir/$name.speakers"
      step "$datadir" "$name" --in "$datadir/$name.speakers" "$datadir/$(set_name "${set%%:*}")" \
        --out "$datadir/$name/wav.scp" -- python -m speechrep.bin.data_dir subset \
        --spk-list "$datadir/$name.speakers" "$datadir/$(set_name "${set%%:*}")" "$datadir/$name"
    done
    name=$(set_name "$sets")
    if [ "${#parts[@]}" -lt 2 ] || [[ $made == *" $name "* ]]; then continue; fi
    made+="$name "
    step "$datadir" "$name" --in "${parts[@]}" --out "$datadir/$name/wav.scp" -- \
      python -m speechrep.bin.data_dir combine "$datadir/$name" "${parts[@]}"
  done
}

# The speakers <reader>-<chapter> of a set FOLDER:READER,READER.
list_speakers() { # set, file
  local readers=${1#*:} spk2utt
  spk2utt=$datadir/$(set_name "${1%%:*}")/spk2utt
  [ "$dry_run" = false ] || return 0
  grep -E "^(${readers//,/|})-" "$spk2utt" | cut -d ' ' -f 1 >"$2" || fail "$1: none of these readers is in $spk2utt"
}

# Set ${audio[@]} to the folders of the corpus that make the named data directory.
find_audio() {
  local sets folder
  audio=()
  for sets in "$pretrain_sets" "$train_sets" "$dev_sets" $test_sets; do
    if [ "$(set_name "$sets")" != "$1" ]; then continue; fi
    for folder in $(folders "$sets"); do audio+=("$corpus_root/$folder"); done
    return
  done
}

needs_phones() { has_word phone "$tasks" && has_word "$1" "$labelled_folders"; } # folder

# What keeps the other rows honest, in the tasks where it is cheap: context alone, and random weights.
control_rows=
if [ "$controls" = true ]; then
  for upstream in $upstreams; do
    case $upstream in
      fbank) control_rows+=" fbank_ctx4" ;;
      *_ctx* | *_untrained) ;;
      *) control_rows+=" ${upstream}_untrained" ;;
    esac
  done
fi
all_upstreams=$upstreams
if has_word phone "$tasks" || has_word speaker "$tasks"; then
  all_upstreams=$(unique "$upstreams" "$control_rows")
fi
exp=$expdir/$tag
feature=$(basename "$feature_config" .yaml)
feats=$dumpdir/$feature # feature directories by set
reps=$dumpdir/$tag      # stores by upstream and set

upstreams_of() { if [ "$1" = asr ]; then echo "$upstreams"; else echo "$all_upstreams"; fi; } # task

# Where an upstream lies: in the experiment of --upstream-from, if that has it, or in this one.
upstream_dir() {
  if [ -n "$upstream_from" ] && [ -e "$upstream_from/$1/model.json" ]; then
    echo "$upstream_from/$1"
  else
    echo "$exp/$1"
  fi
}

# Speakers differ between sets, so that who speaks can be asked only of held-out utterances of one set.
tests_of() { if [ "$1" = speaker ]; then echo "$train"; else echo "$tests"; fi; } # task
labels_of() { case $1 in phone) echo phones.ctm ;; speaker) echo utt2spk ;; *) echo text ;; esac }

# Refuse what no stage could use.
for task in $tasks; do
  has_word "$task" "phone speaker asr" || fail "unknown task '$task'; tasks are phone, speaker and asr"
done
for upstream in $all_upstreams; do
  [ -f "$(conf "${upstream%_untrained}")" ] ||
    fail "unknown upstream '$upstream': there is no $(conf "${upstream%_untrained}")"
done
[ -f "$feature_config" ] || fail "--feature-config: there is no $feature_config"
has_word "$aligner" "none pocketsphinx" || fail "--aligner wants none or pocketsphinx, not '$aligner'"
[ "$aligner" = none ] || [ -z "$alignments" ] || fail "give --alignments or --aligner, not both"

# On a CPU, one-thread jobs side by side are faster than threads in one. A pre-training takes all GPUs, the
# other jobs one each.
jobs_at_once=$nj pretrainings_at_once=$nj gpu_of_job=0
if [ "$ngpu" -gt 0 ]; then jobs_at_once=$ngpu pretrainings_at_once=1 gpu_of_job=1; fi

for_each_test() { # function of task, upstream, set
  local task upstream set
  for task in $tasks; do
    for upstream in $(upstreams_of "$task"); do
      for set in $(tests_of "$task"); do "$1" "$task" "$upstream" "$set"; done
    done
  done
}

report() {
  [ "$dry_run" = false ] || return 0
  python -m speechrep.bin.report --results "$exp/results.json" --out "$exp/RESULTS.md" \
    --order "$all_upstreams $tasks" --made-by "$command_line"
}

# Tell which labels are missing, and where they come from.
check_labels() {
  local name task labels
  [ "$dry_run" = false ] || return 0
  for name in $labelled; do
    for task in $tasks; do
      labels=$datadir/$name/$(labels_of "$task")
      if [ -f "$labels" ]; then continue; fi
      case $task in
        phone) fail "the phone task needs $labels: give --alignments DIR (TextGrids as of the Montreal Forced \
Aligner) or --aligner pocketsphinx and run from stage 0, or leave phone out of --tasks" ;;
        *) fail "the $task task needs $labels: a set without *.trans.txt has none; \
leave $task out of --tasks or name other sets" ;;
      esac
    done
  done
}

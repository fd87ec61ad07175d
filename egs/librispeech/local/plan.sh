# shellcheck shell=bash disable=SC2034,SC2154 # the options are run.sh's, and it uses what is set here
# Sourced by run.sh: what its options mean. Where the corpus lies, which sets and rows there are.

outputs_as_given corpus_dir expdir dumpdir datadir
case $download_url in *://*) ;; *) inputs_as_given download_url ;; esac
inputs_as_given alignments phone_labels feature_config confdir upstream_from

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
  none)
    [ -z "$corpus_dir" ] || fail "--corpus-dir goes with --corpus mini or librispeech, not with none"
    [ -z "$alignments" ] || fail "--alignments are of a corpus; data directories hold phones.ctm, or give --phone-labels"
    [ -n "$train_sets" ] && [ -n "$dev_sets" ] && [ -n "$test_sets" ] ||
      fail "--corpus none wants --train-sets, --dev-sets and --test-sets: names of data directories in $datadir"
    [ -d "$datadir" ] || fail "--corpus none wants data directories in --datadir; there is no folder $datadir"
    default_sets '' '' ''
    ;;
  *)
    [ -z "$corpus_dir" ] || fail "--corpus-dir goes with --corpus mini or librispeech, not with a folder"
    inputs_as_given corpus
    corpus_dir=$corpus
    [ -f "$corpus/SPEAKERS.TXT" ] || [ -f "$corpus/LibriSpeech/SPEAKERS.TXT" ] || fail \
      "--corpus wants mini, librispeech, none or a folder; no SPEAKERS.TXT in $corpus nor in $corpus/LibriSpeech"
    default_sets train-clean-100 dev-clean test-clean
    ;;
esac
for sets in pretrain_sets train_sets dev_sets test_sets; do printf -v "$sets" '%s' "$(unique "${!sets}")"; done
corpus_root=$corpus_dir/LibriSpeech
if [ -f "$corpus_dir/SPEAKERS.TXT" ]; then corpus_root=$corpus_dir; fi
if [ "$corpus" = none ]; then corpus_root=$datadir; fi # data directories that are there

confs=(conf)
if [ "$corpus" = mini ]; then confs=(conf/small conf); fi

# The folders of the corpus behind sets: a set may be FOLDER:READER,READER or FOLDER:-READER,READER.
folders() {
  local set sets=$* found=
  for set in $sets; do found+=" ${set%%:*}"; done
  unique "$found"
}

pretrain=$(set_name "$pretrain_sets") train=$(set_name "$train_sets") dev=$(set_name "$dev_sets")
tests=
for set in $test_sets; do tests=$(unique "$tests" "$(set_name "$set")"); done
labelled=$(unique "$train" "$dev" "$tests") # data directories whose labels are used
labelled_folders=$(folders "$train_sets" "$dev_sets" "$test_sets")
all_folders=$(folders "$pretrain_sets" "$labelled_folders")
declare -A set_of # name of a data directory
for set in $all_folders $pretrain_sets $train_sets $dev_sets $test_sets "$pretrain_sets" "$train_sets" "$dev_sets"; do
  name=$(set_name "$set")
  [ "${set_of[$name]:-$set}" = "$set" ] || fail "the sets '${set_of[$name]}' and '$set' would share $datadir/$name"
  set_of[$name]=$set
done
there=
if [ "$corpus" = mini ]; then
  there="mini-train mini-dev mini-test"
elif [ "$corpus" != librispeech ] || [ "$corpus_root" = "$corpus_dir" ]; then # else it is to be downloaded
  there=$(cd "$corpus_root" && echo */)
fi
if [ "$stage" -le 0 ] && [ -n "$there" ]; then
  for folder in $all_folders; do
    has_word "$folder" "${there//\//}" ||
      fail "$corpus_root: no set '$folder'; there are ${there//\//} (--train-sets and the like name them)"
  done
fi
if [ "$corpus" = none ]; then
  for folder in $all_folders; do
    [ "$folder" = "$(set_name "$folder")" ] || fail "$datadir/$folder: call it $(set_name "$folder"), or make a link of that name"
  done
fi
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
      require_own "$name" "$datadir/$name/utt2spk" "choose another --datadir"
      step "$datadir" "$name" --in "$datadir/$name.speakers" "$datadir/$(set_name "${set%%:*}")" \
        --out "$datadir/$name"{,/wav.scp,/utt2spk} -- python -m speechrep.bin.data_dir subset \
        --spk-list "$datadir/$name.speakers" "$datadir/$(set_name "${set%%:*}")" "$datadir/$name"
    done
    name=$(set_name "$sets")
    if [ "${#parts[@]}" -lt 2 ] || [[ $made == *" $name "* ]]; then continue; fi
    made+="$name "
    require_own "$name" "$datadir/$name/utt2spk" "choose another --datadir"
    step "$datadir" "$name" --in "${parts[@]}" --out "$datadir/$name"{,/wav.scp,/utt2spk} -- \
      python -m speechrep.bin.data_dir combine "$datadir/$name" "${parts[@]}"
  done
}

# The speakers <reader>-<chapter>, lbi-<reader>-<chapter> or <reader> of a set FOLDER:READER,READER, or of FOLDER:-READER,READER: all but these.
list_speakers() { # set, file
  local readers=${1#*:} spk2utt all_but=() reader
  if [[ $readers == -* ]]; then all_but=(-v); fi
  readers=${readers#-}
  spk2utt=$datadir/$(set_name "${1%%:*}")/spk2utt
  if [ "$dry_run" = true ]; then
    [ -e "$2" ] || echo "$2" >>"$SPEECHREP_DRY_RUN" # it would be made
    return
  fi
  for reader in ${readers//,/ }; do
    grep -qE "^(lbi-)?$reader(-[0-9]+)? " "$spk2utt" || fail "$1: reader '$reader' is not in $spk2utt"
  done
  grep -E "${all_but[@]}" "^(lbi-)?(${readers//,/|})(-[0-9]+)? " "$spk2utt" | cut -d ' ' -f 1 >"$2" ||
    fail "$1: no reader is left of $spk2utt"
}

# The folders of which phones.ctm is wanted.
phone_folders=
if has_word phone "$tasks" && [ -z "$phone_labels" ]; then
  phone_folders=$labelled_folders
  if [ -n "$phone_split" ]; then phone_folders=$(folders "$train_sets"); fi
fi
needs_phones() { has_word "$1" "$phone_folders"; } # folder

control_tasks="phone speaker verification"
# Speakers differ between sets, so that who speaks can be asked only of held-out utterances of one set.
split_of() { case $1 in speaker) echo "$speaker_split" ;; phone) echo "$phone_split" ;; esac }                    # task
labels_of() { case $1 in phone) echo "${phone_labels:-phones.ctm}" ;; asr) echo text ;; *) echo utt2spk ;; esac } # task

# Whether two parts have utterances in common, as far as their names or files tell.
share_utterances() { # part, part
  local word one other
  one=$(realpath -m "$(file_of_part "$1")") other=$(realpath -m "$(file_of_part "$2")")
  if [[ $1 != /* || $2 != /* ]]; then
    [[ $1 != /* && $2 != /* ]] || return 1
    for word in ${1//+/ }; do if has_word "$word" "${2//+/ }"; then return 0; fi; done
    return 1
  fi
  if [ "$one" = "$other" ]; then # its two parts have none in common
    case ${1##*@},${2##*@} in train,valid | valid,train) return 1 ;; esac
  else
    [ -n "$(comm -12 <(tr -s '[:space:]' '\n' <"$one" | sort -u) <(tr -s '[:space:]' '\n' <"$other" | sort -u))" ]
  fi
}

# Check what an option says of the parts of a set; files among them count from where run.sh was called.
three_parts() { # option
  local part file parts=()
  for part in ${!1}; do
    if [[ ! $part =~ ^(train|valid|test)(\+|$) ]]; then
      part=$(cd "$called_from" && realpath -m "$part")
      [[ $part != *[[:space:]]* ]] || fail "--${1//_/-}: a blank in the path '$part', where blanks are between parts"
      file=$(file_of_part "$part")
      [ -f "$file" ] || fail "--${1//_/-}: there is no file $file"
    fi
    parts+=("$part")
  done
  [ "${#parts[@]}" -eq 0 ] || [ "${#parts[@]}" -eq 3 ] ||
    fail "--${1//_/-} wants three parts to train, validate and test on, such as 'train valid test', not '${!1}'"
  if [ "${#parts[@]}" -eq 3 ]; then
    if share_utterances "${parts[0]}" "${parts[2]}"; then
      fail "--${1//_/-}: '${parts[2]}', to test on, has utterances of '${parts[0]}', to train on"
    fi
    if share_utterances "${parts[1]}" "${parts[2]}"; then # as the papers do
      log "warning: --${1//_/-}: '${parts[2]}', to test on, has utterances of '${parts[1]}', by which models are picked"
    fi
  fi
  printf -v "$1" '%s' "${parts[*]}"
}

# Refuse what no stage could use.
tasks=$(unique "$tasks")
for task in $tasks; do
  has_word "$task" "phone speaker verification asr" ||
    fail "unknown task '$task'; tasks are phone, speaker, verification and asr"
done
feature=$(basename "$feature_config" .yaml)
if [ -z "$tag" ]; then tag=demo_$feature tag=${tag%_fbank80}; fi # other features, another experiment
[ -f "$feature_config" ] || fail "--feature-config: there is no $feature_config"
has_word "$aligner" "none pocketsphinx" || fail "--aligner wants none or pocketsphinx, not '$aligner'"
[ "$aligner" = none ] || [ -z "$alignments" ] || fail "give --alignments or --aligner, not both"
if [ -n "$phone_labels" ] && { [ "$aligner" != none ] || has_word alignments "$given_options"; }; then
  fail "--phone-labels are in place of --alignments and --aligner: give one"
fi
[ -z "$download_url" ] || [ "$corpus" = librispeech ] || fail "--download-url goes with --corpus librispeech"
three_parts speaker_split
three_parts phone_split
if [ -n "$phone_labels" ]; then
  [ -e "$phone_labels" ] || fail "--phone-labels: there is no $phone_labels"
  phone_labels=$(realpath "$phone_labels")
fi
[ -z "$upstream_from" ] || [ -d "$upstream_from" ] || fail "--upstream-from: there is no folder $upstream_from"
[ "$corpus" = mini ] || [ -z "$alignments" ] || [ -d "$alignments" ] ||
  fail "--alignments: there is no folder $alignments"

# Refuse the phone task where nothing will make its labels, before anything is downloaded.
check_phones() {
  local folder
  if [ -n "$alignments" ] || [ "$aligner" != none ]; then return 0; fi
  for folder in $phone_folders; do need_phones "$datadir/$(set_name "$folder")/phones.ctm"; done
}

# Tell of speakers that are in the training set and in one that models are chosen or compared by, as after a correction
# of where they belong.
warn_of_shared_speakers() {
  local set shared
  [ "$dry_run" = false ] || return 0
  for set in $(unique "$dev" "$tests"); do
    shared=$(comm -12 <(awk '{print $2}' "$datadir/$train/utt2spk" | sort -u) <(awk '{print $2}' "$datadir/$set/utt2spk" | sort -u))
    [ -z "$shared" ] || log "warning: $(wc -l <<<"$shared") speakers of $train are in $set, too, such as ${shared%%$'\n'*}"
  done
}

# Refuse data directories that are not as the corpus wants them, before anything is made.
check_data() {
  local folder set
  for folder in $all_folders; do
    set=$(set_name "$folder")
    if [ "$corpus" != none ]; then
      require_own "$set" "$datadir/$set/utt2spk" "choose another --datadir, or take it as it is with --corpus none"
      continue
    fi
    utils/validate_data_dir.sh --no-feats --no-text "$datadir/$set" >/dev/null
    if needs_phones "$folder" && [ "$aligner" != none ]; then
      require_own "${set}_phones" "$datadir/$set/phones.ctm" "leave out --aligner"
    fi
  done
}

need_phones() { # file
  local given="--alignments DIR (TextGrids as of the Montreal Forced Aligner)"
  if [ "$corpus" = none ]; then given=--phone-labels; fi
  [ -f "$1" ] || fail "the phone task needs $1: give $given or --aligner pocketsphinx and run from stage 0, \
or leave phone out of --tasks"
}

# Tell which labels are missing, and where they come from.
check_labels() {
  local name task labels sets
  [ "$dry_run" = false ] || return 0
  for task in $tasks; do
    sets=$labelled
    if [ -n "$(split_of "$task")" ]; then sets=$train; fi
    for name in $sets; do
      labels=$(labels_in "$task" "$name")
      if [ -e "$labels" ]; then continue; fi
      case $task in
        phone) need_phones "$labels" ;;
        *) fail "the $task task needs $labels: a set without *.trans.txt has none: \
leave $task out of --tasks or name other sets (if stage 0 made it and it was removed, remove $datadir/.done/$name, too)" ;;
      esac
    done
  done
  if has_word verification "$tasks"; then
    for name in $tests; do
      awk '$1 ~ /^(lbi-)?[0-9]+-[0-9]+$/ { sub(/-[0-9]+$/, "", $1) } # who speaks, without the chapter
        { readers += !($1 in utts); utts[$1] += NF - 1; if (utts[$1] > 1) pairs = 1 }
        END { exit !(pairs && readers > 1) }' "$datadir/$name/spk2utt" ||
        fail "verification needs two speakers, one with two utterances; \
$datadir/$name is not such a set: leave verification out of --tasks or name other --test-sets"
    done
  fi
}
. utils/stages.sh

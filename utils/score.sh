#!/usr/bin/env bash
# Score a decoded set in every way: word and character errors with intervals, alignments, speakers,
# confusions, and trn files for sclite.
set -euo pipefail

help_message="Usage: utils/score.sh [options] <data-dir> <decode-dir>

  utils/score.sh data/dev_clean exp/demo/asr_fbank/decode_dev_clean

Writes <decode-dir>/scoring/{wer,cer}, the same as .json, and details/ and prints the word error rate."

bootstrap=1000 # draws of the confidence interval
mode=strict    # strict | present | all: references without hypothesis
compare=       # another system's hyp: interval and significance of the difference

folders=()
while [[ $# -gt 0 && ${!#} != -* && ${#folders[@]} -lt 2 ]]; do
  folders=("${!#}" "${folders[@]}")
  set -- "${@:1:$#-1}"
done
# shellcheck source=/dev/null
. "$(dirname "${BASH_SOURCE[0]}")/parse_options.sh"
if [[ ${#folders[@]} -ne 2 ]]; then
  printf '%s\n' "$help_message" >&2
  exit 2
fi
data_dir=${folders[0]}
decode_dir=${folders[1]}

for file in "$data_dir/text" "$data_dir/utt2spk" "$decode_dir/hyp"; do
  if [[ ! -f $file ]]; then
    echo "score.sh: error: no such file: $file" >&2
    exit 1
  fi
done

root=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
. "$root/utils/venv.sh"
scoring=$decode_dir/scoring
mkdir -p "$scoring"
rm -f "$scoring"/{best_wer,wer,wer.json,cer,cer.json} "$scoring"/*.tmp "$scoring"/details/{*.trn,per_utt,per_spk,ops} # none of an earlier run may stay beside an error
score=(python3 -m speechrep.bin.score_wer "$data_dir/text" "$decode_dir/hyp" --mode "$mode" --bootstrap "$bootstrap")
[[ -z $compare ]] || score+=(--compare "$compare")
"${score[@]}" --json "$scoring/wer.json" --utt2spk "$data_dir/utt2spk" --details "$scoring/details" >"$scoring/wer.tmp"
mv "$scoring/wer.tmp" "$scoring/wer"
"${score[@]}" --unit char --json "$scoring/cer.json" | sed 's/%WER/%CER/' >"$scoring/cer.tmp"
mv "$scoring/cer.tmp" "$scoring/cer"
# The line that Kaldi's recipes collect: the rate, then what it was measured on.
printf '%s %s\n' "$(head -n 1 "$scoring/wer")" "$decode_dir" | tee "$scoring/best_wer"
python3 -m speechrep.bin.score_wer "$data_dir/text" "$decode_dir/hyp" --mode "$mode" \
  --utt2spk "$data_dir/utt2spk" --trn "$scoring/details" >/dev/null ||
  echo "score.sh: warning: no files for sclite (see above)" >&2 # some words have no place in them

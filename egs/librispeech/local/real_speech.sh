#!/usr/bin/env bash
# The comparison on real speech: pre-train on an hour of LibriSpeech without transcripts, then phones of other
# speakers, and connected digits of an unseen one. About an hour and a half of one core.
#
#     local/real_speech.sh DATA [--option value of run.sh]...
#
# DATA holds librispeech-real/ (audio only), librispeech-phones/ (5 speakers, alignments) and digits/.
set -euo pipefail
data=$1
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Every tenth reader is kept for validation.
held_out=19,89,211,307,441,730,1088,1447,1841,2136,2518,2989,3440,3879,4195,4640,5104,5561,6000,6385,6848,7226
dev=train-clean-100:$held_out
./run.sh --corpus "$data/librispeech-real" --tag real --confdir conf/hour --tasks speaker --stop-stage 2 \
  --pretrain-sets "train-clean-100:-$held_out" --train-sets "$dev" --dev-sets "$dev" --test-sets "$dev" "$@"

# Phones: each of the five readers is tested once, by probes trained on three of the others and tuned on the
# fourth; the five results are scored as one.
readers=(1688 1998 2033 2414 2609)
for i in 0 1 2 3 4; do
  train=${readers[(i + 2) % 5]},${readers[(i + 3) % 5]},${readers[(i + 4) % 5]}
  ./run.sh --corpus "$data/librispeech-phones" --alignments "$data/librispeech-phones/alignments" \
    --tag "real_phones_${readers[i]}" --confdir conf/hour --tasks phone --upstream-from exp/real \
    --train-sets "test-other:$train" --dev-sets "test-other:${readers[(i + 1) % 5]}" \
    --test-sets "test-other:${readers[i]}" "$@"
done
. ./path.sh
pooled=exp/real_phones
mkdir -p "$pooled"
rows=(fbank apc mockingjay fbank_ctx4 apc_untrained mockingjay_untrained)
for upstream in "${rows[@]}"; do
  for what in ref hyp; do
    for reader in "${readers[@]}"; do
      cat "exp/real_phones_$reader/phone_$upstream/decode_test_other_$reader/$what"
    done >"$pooled/$upstream.$what"
  done
  python -m speechrep.bin.score --task phone --upstream "$upstream" --features fbank80 --set test_other \
    --exp-dir "exp/real_phones_${readers[0]}/phone_$upstream" --ref "$pooled/$upstream.ref" \
    --hyp "$pooled/$upstream.hyp" --out "$pooled/results.json"
done
python -m speechrep.bin.report --results "$pooled/results.json" --out "$pooled/RESULTS.md" \
  --order "${rows[*]} phone" --made-by "egs/librispeech/local/real_speech.sh $data"

./run.sh --corpus "$data/digits" --tag real_digits --confdir conf/hour --tasks "speaker asr" \
  --upstream-from exp/real --train-sets train-clean --dev-sets dev-clean --test-sets "dev-clean test-clean" "$@"

"""Utterances shared out among jobs that decode: each is one job's."""

import numpy as np
from test_asr import Memory, recogniser

from speechrep.downstream.asr_config import AsrDecodeConfig
from speechrep.downstream.asr_decode import recognise


def test_what_is_too_short_to_be_decoded_is_one_jobs_too():
    lengths = {"a": 60, "b": 1, "c": 50}
    feats = Memory({utt_id: np.zeros((length, 6), np.float32) for utt_id, length in lengths.items()})
    options = AsrDecodeConfig(method="greedy", batch_frames=60)
    shares = [recognise(recogniser(), feats, feats.utt_ids, options, (k, 2)) for k in (0, 1)]
    assert sorted([*shares[0], *shares[1]]) == feats.utt_ids and all(shares)

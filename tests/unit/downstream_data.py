"""Small labelled sets on disk for the tests of downstream tasks."""

import dataclasses

import numpy as np

from speechrep.io.alignment import ARPABET, Interval, write_ctm
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.store import StoreWriter
from speechrep.io.table import write_table

PHONES = ("SIL", *ARPABET[:5])
META = FeatureMeta("fbank", {"frame_shift": 10.0, "frame_length": 25.0, "snip_edges": True}, 8, 10.0, 16000)


def make_set(folder, seed=0, speakers=3, utts=4, meta=META, noise=0.5):
    """A data directory with true phone times and a store whose frames show phone and speaker.

    Returns the paths of the store and of the data directory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((len(PHONES), meta.dim))
    voices = np.random.default_rng(98).standard_normal((20, meta.dim))
    feats, alignments, utt2spk = {}, {}, {}
    for spk in range(speakers):
        for utt in range(utts):
            utt_id = f"{100 + spk}-7-{utt:04d}"
            durations = rng.uniform(0.05, 0.2, rng.integers(6, 12))
            ends = durations.cumsum().round(4)
            starts = np.concatenate([[0.0], ends[:-1]])
            ids = rng.integers(len(PHONES), size=len(ends))
            alignments[utt_id] = [
                Interval(float(s), float(e), PHONES[i]) for s, e, i in zip(starts, ends, ids, strict=True)
            ]
            num_frames = int((ends[-1] * 1000 - 25) // meta.frame_shift_ms) + 1
            times = (np.arange(num_frames) * meta.frame_shift_ms + 12.5) / 1000
            shown = centres[ids[np.searchsorted(ends, times, side="right").clip(max=len(ids) - 1)]]
            frames = shown + voices[spk] + noise * rng.standard_normal(shown.shape)
            feats[utt_id], utt2spk[utt_id] = frames.astype(np.float32), f"{100 + spk}-7"
    meta = dataclasses.replace(meta)
    with StoreWriter(folder / "feats.h5", meta, list(feats), [len(f) for f in feats.values()]) as writer:
        for utt_id, frames in feats.items():
            writer.write(utt_id, frames)
    write_ctm(folder / "phones.ctm", alignments)
    write_table(folder / "utt2spk", utt2spk)
    return folder / "feats.h5", folder

"""Labels are matched by time: known times at both frame rates, and every way they cannot fit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import model

from speechrep.config import to_dict
from speechrep.data.frame_labels import IGNORE, frame_times_s, label_frames, offset_ms
from speechrep.errors import InputError
from speechrep.frontend.fbank import Fbank, FbankConfig
from speechrep.frontend.mel import Mel, MelConfig
from speechrep.io.alignment import Interval
from speechrep.io.feature_meta import FeatureMeta
from speechrep.upstream.represented import represented_meta

FBANK = FeatureMeta("fbank", {"frame_shift": 10.0, "frame_length": 25.0, "snip_edges": True}, 80, 10.0, 16000)
MEL = FeatureMeta("mel", {"hop": 200}, 160, 12.5, 16000)
IDS = {"A": 0, "B": 1, "SPN": IGNORE}


def times_ms(meta, num_frames=3):
    return (1000 * frame_times_s(meta, num_frames)).tolist()


def test_frame_centres():
    assert times_ms(FBANK) == [12.5, 22.5, 32.5]
    assert times_ms(MEL) == [0.0, 12.5, 25.0]
    mirrored = dataclasses.replace(FBANK, config=FBANK.config | {"snip_edges": False})
    assert times_ms(mirrored) == [5.0, 15.0, 25.0]
    joined = dataclasses.replace(FBANK, frame_shift_ms=30.0)  # a representation of three frames
    assert times_ms(joined) == [22.5, 52.5, 82.5]
    ready = dataclasses.replace(FBANK, feature="kaldi", config={})
    assert times_ms(ready) == [12.5, 22.5, 32.5]
    joins = model("mockingjay", downsample=3)
    assert times_ms(represented_meta(joins, ready, [0])) == [22.5, 52.5, 82.5]


def test_a_shift_is_of_whole_samples():
    """At 22.05 kHz 10 ms are 220.5 samples; taken for that, frames would be 0.2 s off after 90 s."""
    rate = 22050.0
    for frontend, shift in (
        (Fbank(FbankConfig(sample_frequency=rate)), 220), (Mel(MelConfig(sample_frequency=rate)), 276)
    ):  # fmt: skip
        assert frontend.frame_shift_ms == pytest.approx(1000 * shift / rate, rel=1e-12)
    assert Fbank(FbankConfig()).frame_shift_ms == 10.0 and Mel(MelConfig()).frame_shift_ms == 12.5
    config = FbankConfig(sample_frequency=rate)
    meta = FeatureMeta("fbank", to_dict(config), 23, Fbank(config).frame_shift_ms, 22050)
    centres = frame_times_s(meta, 2000)
    assert centres[-1] == pytest.approx((1999 * 220 + 0.0125 * 22050) / 22050, abs=1e-4)


def test_known_boundary_at_both_frame_rates():
    intervals = [Interval(0, 1.0, "A"), Interval(1.0, 2.0, "B")]
    kaldi = label_frames(intervals, IDS, frame_times_s(FBANK, 198), "u")
    # Frame 98 has its centre at 992.5 ms, frame 99 at 1002.5 ms.
    assert kaldi.tolist() == [0] * 99 + [1] * 99
    mel = label_frames(intervals, IDS, frame_times_s(MEL, 161), "u")
    assert mel.tolist() == [0] * 80 + [1] * 80 + [IGNORE]  # frame 80 lies at 1000 ms, frame 160 at the end


def test_recognisers_labels_keep_their_frame_numbers():
    """Frame i of the recogniser is Kaldi's frame i, though its time is written as i * 10 ms."""
    cells = [3, 8, 9, 20]
    names = ["A", "B", "A", "B"]
    starts = [0, *cells[:-1]]
    intervals = [Interval(s / 100, e / 100, n) for s, e, n in zip(starts, cells, names, strict=True)]
    offset = offset_ms({"u": intervals}, "auto", "ctm")
    assert offset == 7.5
    labels = label_frames(intervals, IDS, frame_times_s(FBANK, 20), "u", offset)
    assert labels.tolist() == [0] * 3 + [1] * 5 + [0] + [1] * 11


def test_true_times_are_not_moved():
    assert offset_ms({"u": [Interval(0, 0.0512, "A"), Interval(0.0512, 0.1, "B")]}, "auto", "ctm") == 0
    assert offset_ms({"u": [Interval(0, 0.05, "A"), Interval(0.05, 0.1, "B")]}, "-20", "ctm") == -20
    with pytest.raises(InputError, match="label-offset-ms is 'soon'"):
        offset_ms({}, "soon", "ctm")


@given(shift=st.sampled_from([5.0, 10.0, 12.5, 20.0, 30.0]), steps=st.lists(st.integers(20, 300), min_size=1,
       max_size=20))  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_every_frame_has_the_label_at_its_centre(shift, steps):
    ends = np.cumsum(steps) / 1000
    starts = [0.0, *ends[:-1].tolist()]
    intervals = [Interval(starts[i], float(end), "AB"[i % 2]) for i, end in enumerate(ends)]
    times = frame_times_s(dataclasses.replace(MEL, frame_shift_ms=shift), int(ends[-1] * 1000 / shift) + 1)
    labels = label_frames(intervals, IDS, times, "u")
    for time, label in zip(times, labels, strict=True):
        near_boundary = np.abs(ends - time).min() < 1e-5
        assert near_boundary or label == int(np.searchsorted(ends, time)) % 2


def test_gaps_and_ignored_labels():
    intervals = [Interval(0, 0.04, "A"), Interval(0.06, 0.09, "SPN"), Interval(0.09, 0.12, "B")]
    labels = label_frames(intervals, IDS, np.arange(12) / 100 + 0.005, "u")
    assert labels.tolist() == [0] * 4 + [IGNORE] * 5 + [1] * 3


@pytest.mark.parametrize(("missing", "refused"), [(0, False), (3, False), (4, True), (-3, False), (-5, True)])
def test_labels_may_end_three_frames_apart_and_no_more(missing, refused):
    intervals = [Interval(0, 0.9, "A"), Interval(0.9, 1.0 - missing / 100, "B")]
    times = np.arange(100) / 100 + 0.005
    if not refused:
        labels = label_frames(intervals, IDS, times, "u")
        assert (labels == IGNORE).sum() == max(missing, 0)
        return
    with pytest.raises(InputError, match=r"ctm: u: labels end at .* the 100 frames of 10 ms .* frames apart"):
        label_frames(intervals, IDS, times, "ctm: u")


def test_a_wrong_frame_shift_is_refused():
    """12.5 ms features that pass for 10 ms ones end a fifth too early."""
    intervals = [Interval(0, 1.0, "A"), Interval(1.0, 2.0, "B")]
    with pytest.raises(InputError, match="right frame shift"):
        label_frames(intervals, IDS, frame_times_s(dataclasses.replace(MEL, frame_shift_ms=10.0), 161), "u")


def test_refuses_unknown_labels_and_nothing():
    with pytest.raises(InputError, match=r"u: label 'Q' is not one of"):
        label_frames([Interval(0, 1, "Q")], IDS, np.array([0.5]), "u")
    with pytest.raises(InputError, match="u: no labels"):
        label_frames([], IDS, np.array([0.5]), "u")
    with pytest.raises(InputError, match="u: no frames"):
        label_frames([Interval(0, 1, "A")], IDS, np.array([]), "u")


@pytest.mark.parametrize("offset", [0.0, 7.5])
@pytest.mark.parametrize(
    ("shift", "window", "joined"),
    [(5, 25, 1), (6.25, 25, 1), (8, 32, 1), (10, 64, 1), (10, 25, 3), (10, 25, 1)],
)
def test_labels_of_the_whole_audio_fit_at_any_shift_and_window(shift, window, joined, offset):
    config = {"frame_shift": shift, "frame_length": window, "snip_edges": True}
    meta = dataclasses.replace(FBANK, config=config, frame_shift_ms=float(shift * joined))
    for ms in range(window + shift.__ceil__() * (joined - 1), 200):
        frames = int((ms - window) // shift + 1) // joined
        if frames:
            times = frame_times_s(meta, frames)
            label_frames([Interval(0, ms / 1000, "A")], IDS, times, "u", offset)
            with pytest.raises(InputError, match="frames apart"):
                label_frames([Interval(0, ms / 1000 + joined * 0.1, "A")], IDS, times, "u", offset)

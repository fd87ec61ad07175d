"""Spoken noise, which alignments have beside phones and silence."""

from test_frame_classes import META, make_store

from speechrep.downstream.frame_classes import FrameClasses
from speechrep.io.alignment import Interval, write_ctm


def test_frames_of_spoken_noise_are_of_none_of_the_39_phones(tmp_path):
    rows = [Interval(0, 0.105, "AA"), Interval(0.105, 0.205, "SPN"), Interval(0.205, 0.3021, "sil")]
    write_ctm(tmp_path / "phones.ctm", {"u-1": rows})
    source = FrameClasses(tmp_path / "phones.ctm", "phones", "39", "0")
    names = [*source.classes([]), "-"]
    found = source.frames("u-1", make_store(tmp_path, META), 28, names[:-1])
    assert [names[i] for i in found] == ["AA"] * 10 + ["-"] * 10 + ["SIL"] * 8

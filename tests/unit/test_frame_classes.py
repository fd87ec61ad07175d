"""Label files of other projects, and what their labels become on the frames of features."""

import dataclasses
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.data.frame_labels import IGNORE
from speechrep.downstream.base import Labelled
from speechrep.downstream.frame_classes import INVENTORIES, FrameClasses
from speechrep.downstream.phone import PhoneConfig, draw, read_frames
from speechrep.errors import InputError
from speechrep.io.alignment import Interval, read_phone_textgrid, write_ctm, write_textgrid
from speechrep.io.feature_meta import FeatureMeta
from speechrep.io.phone_labels import CPC_PHONES, read_frame_ids, read_textgrids, read_word_alignments
from speechrep.io.store import Store, StoreWriter
from speechrep.io.table import write_table

META = FeatureMeta("fbank", {"frame_shift": 10.0, "frame_length": 25.0, "snip_edges": True}, 2, 10.0, 16000)


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path, META)


def make_store(folder, meta, lengths=(("u-1", 30), ("u-2", 20))):
    with StoreWriter(folder / "x.h5", meta, *zip(*lengths, strict=True)) as writer:
        for utt_id, length in lengths:
            writer.write(utt_id, np.zeros((length, 2)))
    write_table(folder / "utt2spk", {utt_id: "u" for utt_id, _ in lengths})
    return Store(folder / "x.h5")


def test_inventories():
    assert {name: len(classes) for name, classes in INVENTORIES.items()} == {
        "39": 40,
        "41": 41,
        "72": 72,
        "data": 0,
    }
    assert len(CPC_PHONES) == len(set(CPC_PHONES)) == 41 and CPC_PHONES[33] == "OW" and CPC_PHONES[40] == "EH"
    assert set(CPC_PHONES) == set(INVENTORIES["41"])


def test_ids_per_frame(store, tmp_path):
    (tmp_path / "ids.txt").write_text("u-1 " + "0 " * 10 + "33 " * 18 + "1\nu-2 " + "40 " * 22 + "\n")
    feats = dict(zip(store.utt_ids, store.num_frames.tolist(), strict=True))
    for inventory in ("39", "41"):
        source = FrameClasses(tmp_path / "ids.txt", "", inventory, "auto")
        classes = source.classes(store.utt_ids)
        labels = source.frames("u-1", store, feats["u-1"], classes)
        names = [*classes, "-"]
        noise = "SPN" if inventory == "41" else "-"
        assert [names[i] for i in labels] == ["SIL"] * 10 + ["OW"] * 18 + [noise, "-"]  # one frame too few
        assert len(source.frames("u-2", store, 20, classes)) == 20  # two too many
    source = FrameClasses(tmp_path / "ids.txt", "", "data", "auto")
    assert source.classes(["u-1"]) == ("0", "1", "33")
    assert source.frames("u-2", store, 20, ("0", "1", "40")).tolist() == [2] * 20
    for classes in (("0", "1", "33"), ("0", "1", "50")):  # unseen in training, whatever its number
        with pytest.raises(InputError, match=r"u-2: id 40 is not one of the 3 known"):
            source.frames("u-2", store, 20, classes)


def test_ids_of_ones_own_are_not_taken_for_cpcs(store, tmp_path):
    (tmp_path / "kaldi.txt").write_text("u-1 " + "1 " * 10 + "33 " * 19 + "\n")  # whose 0 is no phone
    (tmp_path / "more.txt").write_text("u-1 " + "0 " * 10 + "41 " * 19 + "\n")
    for inventory in ("39", "41"):
        with pytest.raises(
            InputError, match=r"kaldi.txt: no frame has id 0.*--classes data takes ids of your"
        ):
            FrameClasses(tmp_path / "kaldi.txt", "", inventory, "auto")
        source = FrameClasses(tmp_path / "more.txt", "", inventory, "auto")
        with pytest.raises(
            InputError, match=r"u-1: id 41 is not one of CPC's phones, 0 to 40 \(--classes data"
        ):
            source.frames("u-1", store, 29, INVENTORIES[inventory])
    assert FrameClasses(tmp_path / "kaldi.txt", "", "data", "auto").classes(["u-1"]) == ("1", "33")


def test_ids_are_matched_by_time_with_centred_frames(tmp_path):
    """An id is of Kaldi's frame, whose centre is 12.5 ms after its start; a centred frame's is its start."""
    centred = make_store(tmp_path, dataclasses.replace(META, feature="mel", config={"frame_shift": 10.0}))
    (tmp_path / "ids.txt").write_text("u-1 " + "0 " * 10 + "33 " * 17 + "\n")  # changes at 107.5 ms
    source = FrameClasses(tmp_path / "ids.txt", "", "data", "auto")
    found = source.frames("u-1", centred, 30, ("0", "33"))
    assert found.tolist() == [-1] + [0] * 10 + [1] * 17 + [-1, -1]


def test_ids_at_another_frame_shift_are_refused_naming_both(store, tmp_path):
    (tmp_path / "ids.txt").write_text("u-1 " + "0 " * 30 + "\n")
    slow = make_store(tmp_path, dataclasses.replace(META, frame_shift_ms=12.5))
    with pytest.raises(InputError, match=r"ids\.txt: u-1: labels are of 10 ms .*x\.h5 of 12\.5 ms"):
        FrameClasses(tmp_path / "ids.txt", "", "41", "auto").frames("u-1", slow, 30, INVENTORIES["41"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("u-1 0 1 x\n", "ids.txt:1: utterance 'u-1': want a number from 0 per frame, got 'x'"),
        ("u-1 0 -1\n", "got '-1'"),
        ("u-1 0\nu-1 0\n", "ids.txt:2: utterance 'u-1' is given twice"),
        ("u-1\n", "ids.txt:1: utterance 'u-1': .* got none"),
    ],
)
def test_damaged_ids_are_refused(tmp_path, text, message):
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        read_frame_ids(tmp_path / "ids.txt")


def test_ids_that_do_not_fit_are_refused(store, tmp_path):
    (tmp_path / "ids.txt").write_text("u-1 " + "0 " * 26 + "\nu-2 " + "41 " * 20 + "\n")
    source = FrameClasses(tmp_path / "ids.txt", "", "41", "auto")
    with pytest.raises(InputError, match="u-1: 26 labels for 30 frames"):
        source.frames("u-1", store, 30, INVENTORIES["41"])
    with pytest.raises(InputError, match="u-2: id 41 is not one of CPC's phones"):
        source.frames("u-2", store, 20, INVENTORIES["41"])
    with pytest.raises(InputError, match="no stress marks"):
        FrameClasses(tmp_path / "ids.txt", "", "72", "auto").frames("u-2", store, 20, INVENTORIES["72"])


def test_textgrids_with_stress(store, tmp_path):
    rows = [Interval(0, 0.105, ""), Interval(0.105, 0.205, "AH0"), Interval(0.205, 0.3021, "sp")]
    write_textgrid(
        tmp_path / "grids" / "u" / "u-1.TextGrid", {"phones": rows, "words": [Interval(0, 0.3021, "a b")]}
    )
    write_ctm(  # what prepare_librispeech makes of them
        tmp_path / "phones.ctm", {"u-1": read_phone_textgrid(tmp_path / "grids" / "u" / "u-1.TextGrid")}
    )
    for path in (tmp_path / "grids", tmp_path / "phones.ctm"):
        frames = {}
        for inventory in ("72", "39"):
            source = FrameClasses(path, "phones", inventory, "0")
            names = source.classes([])
            frames[inventory] = [names[i] for i in source.frames("u-1", store, 28, names)]
        assert frames["72"] == ["sil"] * 10 + ["AH0"] * 10 + ["sp"] * 8
        assert frames["39"] == ["SIL"] * 10 + ["AH"] * 10 + ["SIL"] * 8
    words = FrameClasses(tmp_path / "grids", "words", "data", "0")
    assert words.classes(["u-1"]) == ("a_b",)
    with pytest.raises(InputError, match=r"u-1\.TextGrid: no tier 'tones'"):
        read_textgrids(tmp_path / "grids", "tones")
    (tmp_path / "grids/other").mkdir()
    shutil.copy(tmp_path / "grids/u/u-1.TextGrid", tmp_path / "grids/other")
    with pytest.raises(InputError, match=r"u-1\.TextGrid: utterance 'u-1' is there twice"):
        read_textgrids(tmp_path / "grids", "words")


@pytest.mark.parametrize(("boundary_s", "first"), [(0.11, 11), (0.112, 10)])
def test_the_last_end_does_not_tell_a_recognisers_times(store, tmp_path, boundary_s, first):
    """It is the audio's, seldom a multiple of 10 ms, so that the boundaries before it decide."""
    rows = [Interval(0, boundary_s, "A"), Interval(boundary_s, 0.3021, "B")]
    write_ctm(tmp_path / "phones.ctm", {"u-1": rows})
    source = FrameClasses(tmp_path / "phones.ctm", "", "data", "auto")
    assert source.frames("u-1", store, 28, ("A", "B")).tolist() == [0] * first + [1] * (28 - first)


def test_word_alignments(tmp_path):
    path = tmp_path / "a" / "1-2.alignment.txt"
    path.parent.mkdir()
    path.write_text('1-2-0000 ",GO,,DON\'T," "0.490,0.890,0.890,1.270,2.095"\n')
    (rows,) = read_word_alignments(tmp_path).values()
    assert rows == [(0, 0.49, ""), (0.49, 0.89, "GO"), (0.89, 1.27, "DON'T"), (1.27, 2.095, "")]
    for bad in ('",GO" "0.490"', '",GO" "-5,1"', '",GO" "0.4,inf"', '",GO" "nan,1"', '",GO" "0.4,0.3"'):
        path.write_text(f"1-2-0000 {bad}\n")
        with pytest.raises(InputError, match=r"1-2\.alignment\.txt:1: utterance '1-2-0000'"):
            read_word_alignments(tmp_path)
    with pytest.raises(InputError, match=r"no \*\.alignment\.txt"):
        read_word_alignments(tmp_path / "nowhere")


@given(words=st.lists(st.from_regex(r"[A-Z']{0,6}", fullmatch=True), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_word_alignments_round_trip(tmp_path_factory, words):
    folder = tmp_path_factory.mktemp("w")
    ends = [f"{0.1 * (i + 1):.3f}" for i in range(len(words))]
    (folder / "x.alignment.txt").write_text(f'u "{",".join(words)}" "{",".join(ends)}"\n')
    assert [row.label for row in read_word_alignments(folder)["u"]] == words


def test_unknown_phones_are_told_by_file_and_utterance(store, tmp_path):
    (tmp_path / "phones.ctm").write_text("u-1 1 0 0.3 Q\n")
    with pytest.raises(InputError, match=r"phones\.ctm: u-1: 'Q' is not an ARPAbet phone"):
        FrameClasses(tmp_path / "phones.ctm", "", "39", "auto").frames("u-1", store, 28, INVENTORIES["39"])
    source = FrameClasses(tmp_path / "phones.ctm", "", "data", "auto")
    with pytest.raises(InputError, match=r"label 'Q' is not one of the 2 known: A, B"):
        source.frames("u-1", store, 28, ("A", "B"))


def test_a_share_of_the_training_utterances(tmp_path):
    store = make_store(tmp_path, META, [(f"u-{i}", 20) for i in range(40)])
    (tmp_path / "ids.txt").write_text("".join(f"u-{i} " + "0 " * 20 + "\n" for i in range(40)))
    frames, _ = read_frames(Labelled(store, tmp_path), PhoneConfig(labels="ids.txt"))
    assert draw(frames, 1.0, 0) is frames
    tenth = draw(frames, 0.1, 0)
    assert len(tenth.utt_ids) == len(tenth.labels) == 4
    assert tenth.utt_ids == draw(frames, 0.1, 0).utt_ids != draw(frames, 0.1, 1).utt_ids
    assert len(draw(frames, 0.001, 0).utt_ids) == 1
    assert (frames.labels[0] != IGNORE).all()
    for proportion in (0.0, 1.5):
        with pytest.raises(InputError, match="train-proportion"):
            draw(frames, proportion, 0)


def test_a_label_that_is_the_sign_of_no_label_is_a_class_like_others(store, tmp_path):
    write_ctm(tmp_path / "phones.ctm", {"u-1": [Interval(0, 0.1, "-"), Interval(0.1, 0.3021, "a")]})
    source = FrameClasses(tmp_path / "phones.ctm", "", "data", "0")
    names = source.classes(["u-1"])
    assert names == ("_", "a")
    assert source.frames("u-1", store, 28, names).tolist()[:10] == [0] * 9 + [1]


def test_frames_of_spoken_noise_are_of_none_of_the_39_phones(tmp_path):
    rows = [Interval(0, 0.105, "AA"), Interval(0.105, 0.205, "SPN"), Interval(0.205, 0.3021, "sil")]
    write_ctm(tmp_path / "phones.ctm", {"u-1": rows})
    source = FrameClasses(tmp_path / "phones.ctm", "phones", "39", "0")
    names = [*source.classes([]), "-"]
    found = source.frames("u-1", make_store(tmp_path, META), 28, names[:-1])
    assert [names[i] for i in found] == ["AA"] * 10 + ["-"] * 10 + ["SIL"] * 8

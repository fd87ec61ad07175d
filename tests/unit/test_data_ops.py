import itertools
import shutil

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.bin.data_dir import main
from speechrep.errors import InputError
from speechrep.io import data_ops
from speechrep.io.data_dir import DataDir, invert
from speechrep.io.data_fix import BACKUP, fix
from speechrep.io.data_valid import validate
from speechrep.io.table import read_table, write_table


def make(path, utts_of, **more):
    """A data directory of ``{speaker: number of utterances}``."""
    path.mkdir(parents=True, exist_ok=True)
    utt2spk = {f"{spk}-{n:02d}": spk for spk, count in sorted(utts_of.items()) for n in range(count)}
    spk2utt = invert(utt2spk)
    write_table(path / "utt2spk", utt2spk)
    write_table(path / "spk2utt", {spk: " ".join(utts) for spk, utts in spk2utt.items()})
    write_table(path / "spk2gender", {spk: "mf"[len(spk) % 2] for spk in spk2utt})
    write_table(path / "wav.scp", {utt: f"/x/{utt}.wav" for utt in utt2spk})
    write_table(path / "text", {utt: f"SAY {utt.upper()}" for utt in utt2spk})
    write_table(path / "utt2dur", {utt: f"{1 + i % 3}.5" for i, utt in enumerate(utt2spk)})
    (path / "phones.ctm").write_text("".join(f"{u} 1 0 0.5 AA\n{u} 1 0.5 0.25 SIL\n" for u in utt2spk))
    for name, table in more.items():
        write_table(path / name, table)
    return path


def names(path):
    return list(read_table(path / "utt2spk"))


# --- fix


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_fix_gives_a_valid_directory_or_says_why_not(data, tmp_path_factory):
    """Whatever happened to the files: lines lost, doubled, out of order, changed; no line is made up."""
    path = make(tmp_path_factory.mktemp("d"), {"a": 3, "b": 2, "25522": 1, "255224": 2})
    (path / "spk2utt").unlink()
    originals = set()
    for name in ("utt2spk", "wav.scp", "text", "utt2dur", "spk2gender", "phones.ctm"):
        lines = (path / name).read_text().splitlines()
        lines = data.draw(st.permutations(lines))
        lines = lines[data.draw(st.integers(0, 2)) :] + data.draw(
            st.lists(st.sampled_from(lines), max_size=2)
        )
        lines += data.draw(
            st.lists(st.sampled_from(["", " ", "a-00", "b-01 0", "zz q", "a-01  X\t", "c"]), max_size=2)
        )
        end = data.draw(st.sampled_from(["\n", "", "\r\n"]))
        (path / name).write_text("\n".join(lines) + end, newline="")
        originals |= {" ".join(line.split()) for line in lines}
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    try:
        kept, *_ = fix(path)
    except InputError:
        assert {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()} == before
        return
    validate(path)
    assert kept == len(names(path)) > 0
    for name in ("utt2spk", "wav.scp", "text", "utt2dur", "spk2gender", "phones.ctm"):
        assert {" ".join(line.split()) for line in (path / name).read_text().splitlines()} <= originals
    saved = {file.name: file.read_bytes() for file in (path / BACKUP).iterdir()}
    assert saved == before
    after = {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    assert fix(path) == (kept, kept, False)
    assert after == {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}
    assert saved == {file.name: file.read_bytes() for file in (path / BACKUP).iterdir()}


def test_fix_mends_each_fault(tmp_path, capsys):
    path = make(tmp_path / "d", {"a": 4, "b": 3, "c": 1})
    text = (path / "text").read_text().splitlines()
    text[0] = "a-00"  # no words
    (path / "text").write_text(
        "\n".join([*reversed(text), "a-01 OTHER WORDS"])
    )  # unsorted, twice, no newline
    write_table(path / "utt2dur", {**read_table(path / "utt2dur"), "b-00": "0"})
    write_table(path / "spk2gender", {"a": "f", "b": "m"})  # c has none
    main(["fix", str(path)])
    assert names(path) == ["a-02", "a-03", "b-01", "b-02"]
    assert "fix_data_dir.sh: kept 4 utterances out of 8" in capsys.readouterr().out
    assert "b-00" in (path / BACKUP / "utt2spk").read_text()
    assert DataDir(path).spk2utt == {"a": ["a-02", "a-03"], "b": ["b-01", "b-02"]}
    assert "a-01" not in (path / "phones.ctm").read_text()


def test_fix_tells_why_an_alignment_is_dropped(tmp_path, caplog):
    path = make(tmp_path / "d", {"a": 2})
    with open(path / "phones.ctm", "a") as stream:
        stream.write("a-01 1 0.7 0.1 AA\n")
    main(["fix", str(path)])
    assert "1 alignments dropped, first 'a-01': " in caplog.text
    assert "'AA' at 0.7 s lasting 0.1 s overlaps" in caplog.text


def test_fix_tells_of_a_backup_only_where_it_made_one(tmp_path, capsys):
    path = make(tmp_path / "d", {"a": 2, "b": 1})
    main(["fix", str(path)])
    assert capsys.readouterr().out == "fix_data_dir.sh: kept 3 utterances out of 3\n"
    assert not (path / BACKUP).exists()
    (path / "text").write_text("b-00 X\na-00 X\na-01 X\n")
    main(["fix", str(path)])
    assert capsys.readouterr().out.endswith(f"old files are kept in {path}/.backup\n")
    assert (path / BACKUP / "text").exists()


def test_fix_drops_a_line_of_odd_blanks(tmp_path):
    """A vertical tab alone was a line without a first word."""
    (tmp_path / "utt2spk").write_text("a-1 a\n\v\n\x1c\na-2 a\n")
    assert fix(tmp_path) == (2, 2, True)
    assert (tmp_path / "utt2spk").read_text() == "a-1 a\na-2 a\n"


def test_fix_with_segments_and_extra_files(tmp_path):
    path = make(tmp_path / "d", {"a": 3})
    write_table(path / "wav.scp", {"r1": "/x/1.wav", "r2": "/x/2.wav"})
    write_table(path / "segments", {"a-00": "r1 0 1", "a-01": "r1 2 1", "a-02": "r3 0 1"})
    write_table(path / "utt2emotion", {"a-00": "1 2", "a-02": "3 4"})
    fix(path, utt_extra=["utt2emotion"])
    assert names(path) == ["a-00"]
    assert read_table(path / "wav.scp") == {"r1": "/x/1.wav"}
    assert read_table(path / "utt2emotion") == {"a-00": "1 2"}


def test_fix_refuses_what_it_cannot_mend(tmp_path):
    path = make(tmp_path / "d", {"a": 1, "b": 1})
    write_table(path / "utt2spk", {"a-00": "z", "b-00": "y"})
    write_table(path / "spk2gender", {"y": "m", "z": "m"})
    with pytest.raises(InputError, match=r"d/utt2spk:2: .*'b-00'.* does not sort by speaker"):
        fix(path)
    (path / "text").write_text("c X\n")
    with pytest.raises(InputError, match="no utterance is in all of its files"):
        fix(path)


UNUSABLE = [
    ("utt2dur", "inf"),
    ("text", "A\x07B"),
    ("utt2num_frames", "1.5"),
    ("spk2gender", "M"),
    ("segments", "r 2 1"),
    ("wav.scp", "~/x.wav"),
]


@pytest.mark.parametrize(("name", "value"), UNUSABLE)
def test_fix_drops_what_the_value_of_a_file_makes_unusable(name, value, tmp_path):
    """The last utterance alone has its speaker and its recording."""
    path = make(tmp_path / "d", {"a": 2, "b": 1})
    write_table(path / "utt2num_frames", dict.fromkeys(names(path), "100"))
    if name == "segments":
        write_table(path / "wav.scp", {"r": "/x/r.wav"})
        write_table(path / "segments", {"a-00": "r 0 1", "a-01": "r 1 -1", "b-00": "r 2 3"})
    key = "b" if name == "spk2gender" else "b-00"
    (path / name).write_text(
        "".join(f"{k} {value if k == key else v}\n" for k, v in read_table(path / name).items())
    )
    assert fix(path) == (2, 3, True)
    assert names(path) == ["a-00", "a-01"]
    if name == "segments":
        assert read_table(path / "segments")["a-01"] == "r 1 -1"  # to the recording's end


def test_fix_wants_a_speaker_in_every_file_about_speakers_and_leaves_good_files_alone(tmp_path):
    path = make(tmp_path / "d", {"a": 2, "b": 1})
    write_table(path / "cmvn.scp", {"a": "/x/cmvn.ark:3", "b": "/x/cmvn.ark:9"})
    good = (path / "cmvn.scp").stat().st_ino
    (path / "text").write_text("b-00 X\na-00 X\na-01 X\n")
    assert fix(path) == (3, 3, True)
    assert (path / "cmvn.scp").stat().st_ino == good
    write_table(path / "cmvn.scp", {"a": "/x/cmvn.ark:3"})
    assert fix(path) == (2, 3, True)


def test_fix_orders_alignments_by_time_and_drops_doubled_lines(tmp_path):
    path = make(tmp_path / "d", {"a": 1})
    (path / "phones.ctm").write_text("a-00 1 10.0 1 T\na-00 1 9.5 0.5 AA\na-00 1 9.5 0.5 AA\n")
    fix(path)
    assert (path / "phones.ctm").read_text() == "a-00 1 9.5 0.5 AA\na-00 1 10.0 1 T\n"


def test_fix_filters_further_files_and_keeps_what_they_lack(tmp_path, capsys):
    path = make(tmp_path / "d", {"a": 2, "b": 1, "c": 1})
    write_table(path / "utt2emotion", {"a-00": "1", "c-00": "2"})
    write_table(path / "spk2age", {"a": "30", "c": "40"})
    (path / "text").write_text("a-00 X\na-01 X\nb-00 X\n")
    main(["fix", "--utt-extra-files", "utt2emotion", "--spk-extra-files", "spk2age", str(path)])
    assert names(path) == ["a-00", "a-01", "b-00"]
    assert read_table(path / "utt2emotion") == {"a-00": "1"} and read_table(path / "spk2age") == {"a": "30"}
    write_table(path / "utt2spk", {"a-00": "z", "a-01": "z", "b-00": "a"})
    write_table(path / "spk2gender", {"a": "f", "z": "m"})
    with pytest.raises(InputError, match="does not sort by speaker"):
        main(["fix", str(path)])
    main(["fix", "--no-spk-sort", str(path)])
    assert DataDir(path).spk2utt == {"a": ["b-00"], "z": ["a-00", "a-01"]}


def test_fix_counts_what_was_there_before(tmp_path):
    (tmp_path / "utt2spk").write_text("a-1 a\na-2 a\na-2 b\na-3\n")
    assert fix(tmp_path) == (1, 3, True)


# --- split

SPEAKERS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 7), min_size=1, max_size=6)


@settings(max_examples=15, deadline=None)
@given(utts_of=SPEAKERS, pieces=st.integers(1, 9), per_utt=st.booleans())
def test_split_is_a_contiguous_partition(utts_of, pieces, per_utt, tmp_path_factory):
    path = make(tmp_path_factory.mktemp("d"), utts_of)
    whole = names(path)
    most = len(whole) if per_utt else len(utts_of)
    if pieces > most:
        with pytest.raises(InputError, match=rf"cannot be split into {pieces}: it has {most} "):
            data_ops.split(path, pieces, per_utt)
        return
    folder = data_ops.split(path, pieces, per_utt)
    assert folder.name == f"split{pieces}" + ("utt" if per_utt else "")
    parts = [folder / str(number) for number in range(1, pieces + 1)]
    for name in ("utt2spk", "text", "wav.scp", "phones.ctm"):
        assert b"".join((part / name).read_bytes() for part in parts) == (path / name).read_bytes()
    for part in parts:
        validate(part)
    sizes = [len(names(part)) for part in parts]
    if per_utt:
        assert sizes == sorted(sizes, reverse=True) and max(sizes) - min(sizes) <= 1
    else:
        speakers = [set(read_table(part / "spk2utt")) for part in parts]
        assert not any(a & b for a, b in itertools.combinations(speakers, 2))
        assert max(sizes) <= -(-len(whole) // pieces) + max(utts_of.values())


def test_split_again_only_when_older(tmp_path):
    path = make(tmp_path / "d", {"a": 2, "b": 2})
    main(["split", str(path), "2"])
    piece = path / "split2" / "1" / "text"
    first = piece.stat().st_ino
    main(["split", str(path), "2"])
    assert piece.stat().st_ino == first
    write_table(path / "text", dict.fromkeys(names(path), "NEW"))
    main(["split", str(path), "2"])
    assert piece.read_text() == "a-00 NEW\na-01 NEW\n"
    write_table(
        path / "text", read_table(path / "text") | {"b-00": "NEWER"}
    )  # the first piece stays as it was
    main(["split", str(path), "2"])
    first = piece.stat().st_ino
    main(["split", str(path), "2"])
    assert piece.stat().st_ino == first


def test_split_keeps_the_recordings_of_segments(tmp_path):
    path = make(tmp_path / "d", {"a": 2, "b": 1})
    write_table(path / "wav.scp", {"r1": "/x/1.wav", "r2": "/x/2.wav"})
    write_table(path / "segments", {"a-00": "r1 0 1", "a-01": "r2 0 1", "b-00": "r2 1 2"})
    folder = data_ops.split(path, 2)
    assert list(read_table(folder / "1" / "wav.scp")) == ["r1", "r2"]
    assert list(read_table(folder / "2" / "wav.scp")) == ["r2"]


# --- subset

MODES = {
    (): ["a-00", "a-02", "b-01"],
    ("--first",): ["a-00", "a-01", "a-02"],
    ("--last",): ["b-01", "b-02", "c-00"],
    ("--shortest",): ["a-00", "a-03", "b-02"],
}


@pytest.mark.parametrize("mode", MODES)
def test_subset_by_number(mode, tmp_path):
    path = make(tmp_path / "d", {"a": 4, "b": 3, "c": 1})
    main(["subset", *mode, str(path), "3", str(tmp_path / "s")])
    assert names(tmp_path / "s") == MODES[mode]
    validate(tmp_path / "s")
    with pytest.raises(InputError, match="d: cannot take 9 of 8 utterances"):
        main(["subset", *mode, str(path), "9", str(tmp_path / "s")])
    assert names(tmp_path / "s") == MODES[mode]


def test_the_shortest_are_told_by_numbers_frames_before_seconds(tmp_path):
    path, target = make(tmp_path / "d", {"a": 3}), tmp_path / "s"
    write_table(path / "utt2dur", {"a-00": "10.5", "a-01": "9.5", "a-02": "11"})
    main(["subset", "--shortest", str(path), "1", str(target)])
    assert names(target) == ["a-01"]
    write_table(path / "utt2num_frames", {"a-00": "100", "a-01": "99", "a-02": "98"})
    main(["subset", "--shortest", str(path), "1", str(target)])
    assert names(target) == ["a-02"]


def test_speakers_are_drawn_always_alike_but_drawn(tmp_path):
    path = make(tmp_path / "d", {f"s{i:02d}": 1 for i in range(40)})
    drawn = []
    for target in (tmp_path / "s", tmp_path / "t"):
        main(["subset", "--speakers", str(path), "10", str(target)])
        drawn.append(names(target))
    assert drawn[0] == drawn[1] and len(drawn[0]) == 10
    assert drawn[0] not in (names(path)[:10], names(path)[-10:])


def test_subset_by_speaker_and_list(tmp_path):
    path, target = make(tmp_path / "d", {"a": 4, "b": 3, "c": 1}), tmp_path / "s"
    main(["subset", "--per-spk", str(path), "2", str(target)])
    assert names(target) == ["a-00", "a-02", "b-00", "b-01", "c-00"]
    main(["subset", "--speakers", str(path), "5", str(target)])
    assert len(names(target)) >= 5
    assert all(len(utts) == {"a": 4, "b": 3, "c": 1}[spk] for spk, utts in DataDir(target).spk2utt.items())
    (tmp_path / "list").write_text("c-00\na-03\nzz\n")
    main(["subset", "--utt-list", str(tmp_path / "list"), str(path), str(target)])
    assert names(target) == ["a-03", "c-00"]
    (tmp_path / "list").write_text("b\n")
    main(["subset", "--spk-list", str(tmp_path / "list"), str(path), str(target)])
    assert names(target) == ["b-00", "b-01", "b-02"]
    (tmp_path / "list").write_text("q\n")
    for option, kind in (("--spk-list", "speakers"), ("--utt-list", "utterances")):
        with pytest.raises(InputError, match=f"/list: none of these {kind} is in {path}"):
            main(["subset", option, str(tmp_path / "list"), str(path), str(target)])
    for bad in (["--first", "--last", str(path), "1", "x"], [str(path), "1"], [str(path), "one", "x"]):
        with pytest.raises(InputError, match="subset"):
            main(["subset", *bad])


def test_targets_are_not_destroyed(tmp_path):
    path = make(tmp_path / "all" / "d", {"a": 2})
    for target in (path, path.parent):
        with pytest.raises(InputError, match="writing it would destroy"):
            main(["subset", str(path), "1", str(target)])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_text("x")
    with pytest.raises(InputError, match="other: exists and is not a data directory"):
        main(["copy", str(path), str(tmp_path / "other")])
    assert names(path) == ["a-00", "a-01"]


@pytest.mark.parametrize("words", [["split", "D", "2"], ["subset", "D", "2", "T"], ["copy", "D", "T"],
                                   ["combine", "T", "D"]])  # fmt: skip
def test_what_is_left_out_is_told(words, tmp_path, caplog):
    path = make(tmp_path / "d", {"a": 1, "b": 1})
    words = [{"D": str(path), "T": str(tmp_path / "t")}.get(word, word) for word in words]
    main(words)
    assert not caplog.messages
    for name in ("conf", "split9utt", "split9_mine", ".backup"):
        (path / name).mkdir()
    (path / "stm").write_text("")
    main(words)
    told = "conf, split9_mine, stm"
    assert caplog.messages == [f"{path}: left out, as what they are keyed by is not known: {told}"]


@pytest.mark.parametrize("dangling", [False, True])
def test_a_target_behind_a_link_is_filled_where_it_is(dangling, tmp_path):
    path, real, link = make(tmp_path / "d", {"a": 2}), tmp_path / "disk" / "real", tmp_path / "link"
    if not dangling:
        make(real, {"b": 1})
    link.symlink_to(real)
    main(["copy", str(path), str(link)])
    assert link.is_symlink() and names(link) == names(real) == names(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["d", "disk", "link"]
    assert {file.name for file in real.parent.iterdir()} == {"real"} | (
        {"real.old"} if not dangling else set()
    )


def test_what_is_kept_of_a_target_is_no_source_and_no_other_folder(tmp_path):
    old, target = make(tmp_path / "d.old", {"a": 4}), make(tmp_path / "d", {"a": 2})
    with pytest.raises(InputError, match=r"d: writing it would destroy .*d\.old"):
        main(["subset", str(old), "2", str(target)])
    shutil.rmtree(old)
    old.mkdir()
    (old / "recording.wav").touch()
    source = make(tmp_path / "s", {"a": 1})
    with pytest.raises(InputError, match=r"d\.old: exists and is not a data directory"):
        main(["copy", str(source), str(target)])
    assert len(names(target)) == 2


# --- combine, copy and the rest


def test_combine(tmp_path, caplog):
    one, two = make(tmp_path / "1", {"a": 2, "c": 1}), make(tmp_path / "2", {"b": 2})
    (two / "utt2dur").unlink()
    main(["combine", str(tmp_path / "all"), str(one), str(two)])
    assert names(tmp_path / "all") == ["a-00", "a-01", "b-00", "b-01", "c-00"]
    validate(tmp_path / "all")
    assert not (tmp_path / "all" / "utt2dur").exists()  # one of them has none
    with pytest.raises(InputError, match=r"1/utt2spk: 'a-00' is in another directory too"):
        main(["combine", str(tmp_path / "x"), str(one), str(one)])
    for path, shift in ((one, "0.01"), (two, "0.0125")):
        (path / "frame_shift").write_text(shift)
        (path / "feats_dim").write_text("80")
    caplog.clear()
    main(["combine", str(tmp_path / "all"), str(one), str(two)])
    assert "leaving out frame_shift, which is not the same everywhere" in caplog.messages
    assert (tmp_path / "all/feats_dim").read_text() == "80"
    third = make(tmp_path / "3", {"d": 1}, spk2gender={"d": "m"})
    write_table(third / "wav.scp", {"a-00": "/y/elsewhere.wav"})
    write_table(third / "segments", {"d-00": "a-00 0 1"})
    with pytest.raises(
        InputError, match=r"3/wav\.scp: 'a-00' is in another directory too, with another value"
    ):
        main(["combine", str(tmp_path / "x"), str(one), str(third)])
    write_table(third / "wav.scp", {"r": "/y/r.wav"})
    write_table(third / "segments", {"d-00": "r 0 1"})
    main(["combine", str(tmp_path / "x"), str(one), str(third)])
    assert read_table(tmp_path / "x" / "segments")["a-01"] == "a-01 0 2.5"
    validate(tmp_path / "x")


def test_combine_takes_further_files_and_alignments_of_some(tmp_path, caplog):
    one, two = make(tmp_path / "1", {"a": 1}), make(tmp_path / "2", {"b": 1})
    write_table(one / "utt2emotion", {"a-00": "1"})
    write_table(two / "utt2emotion", {"b-00": "2"})
    (two / "phones.ctm").unlink()  # what cannot be aligned has no lines in any case
    (two / "frame_shift").write_text("0.01")
    main(["combine", "--extra-files", "utt2emotion", str(tmp_path / "all"), str(one), str(two)])
    assert read_table(tmp_path / "all/utt2emotion") == {"a-00": "1", "b-00": "2"}
    assert (tmp_path / "all/phones.ctm").read_text() == (one / "phones.ctm").read_text()
    assert not (tmp_path / "all/frame_shift").exists()  # that of the other is not known
    assert caplog.messages == ["leaving out frame_shift, which is not the same everywhere"]


def test_copy_leaves_recordings_of_segments_their_names(tmp_path):
    path = make(tmp_path / "d", {"a": 1, "b": 1})
    write_table(path / "wav.scp", {"r": "/x/r.wav"})
    write_table(path / "segments", {"a-00": "r 0 1", "b-00": "r 1 2"})
    main(["copy", "--utt-prefix", "x-", "--spk-prefix", "x-", str(path), str(tmp_path / "c")])
    assert read_table(tmp_path / "c/wav.scp") == {"r": "/x/r.wav"}
    assert read_table(tmp_path / "c/segments") == {"x-a-00": "r 0 1", "x-b-00": "r 1 2"}


def test_copy_with_suffixes_that_change_the_order(tmp_path):
    path = make(tmp_path / "d", {"a": 1})
    for name in ("utt2spk", "wav.scp", "text", "utt2dur"):
        write_table(
            path / name, {"a-1": "a", "a-1-2": "a"} if name == "utt2spk" else {"a-1": "1", "a-1-2": "2"}
        )
    (path / "phones.ctm").unlink()
    main(["copy", "--utt-suffix", "z", "--spk-suffix", "y", str(path), str(tmp_path / "c")])
    validate(tmp_path / "c")
    assert DataDir(tmp_path / "c").spk2utt == {"ay": ["a-1-2z", "a-1z"]}
    assert read_table(tmp_path / "c/text") == {"a-1-2z": "2", "a-1z": "1"}


def test_copy_renames(tmp_path):
    path = make(tmp_path / "d", {"a": 1, "b": 1})
    main(["copy", "--utt-prefix", "x-", "--spk-prefix", "x-", str(path), str(tmp_path / "c")])
    validate(tmp_path / "c")
    data = DataDir(tmp_path / "c")
    assert data.utt2spk == {"x-a-00": "x-a", "x-b-00": "x-b"}
    assert data.wav_scp["x-a-00"] == "/x/a-00.wav" and "x-b" in data.spk2gender
    assert (tmp_path / "c" / "phones.ctm").read_text().startswith("x-a-00 1 0 0.5 AA\nx-a-00 1 0.5")
    shutil.rmtree(tmp_path / "c")
    make(tmp_path / "bad", {"1": 1, "12": 1})
    with pytest.raises(InputError, match=r"c/utt2spk.*does not sort by speaker"):
        main(["copy", "--spk-suffix", "_", str(tmp_path / "bad"), str(tmp_path / "c")])
    assert not (tmp_path / "c").exists()


def test_an_utterance_without_a_frame_is_named(tmp_path):
    path = make(tmp_path / "d", {"a": 2})
    (path / "utt2dur").write_text("a-00 1.5\na-01 0.0249\n")
    with pytest.raises(InputError, match="utterance a-01 is too short for a frame"):
        main(["utt2num-frames", str(path)])
    assert not (path / "utt2num_frames").exists()


def test_lengths(tmp_path, capsys):
    path = make(tmp_path / "d", {"a": 2})
    main(["utt2num-frames", str(path)])  # from utt2dur, 25 ms windows every 10 ms
    assert read_table(path / "utt2num_frames") == {"a-00": "148", "a-01": "248"}
    write_table(path / "utt2dur", {"a-00": "0.175", "a-01": "2.5"})  # 0.16 s are 15.999... times 10 ms
    (path / "utt2num_frames").unlink()
    main(["utt2num-frames", str(path)])
    assert read_table(path / "utt2num_frames") == {"a-00": "16", "a-01": "248"}
    write_table(path / "utt2num_frames", {"a-00": "7"})  # of fewer utterances: made anew
    main(["utt2num-frames", "--frame-shift", "0.02", str(path)])
    assert read_table(path / "utt2num_frames") == {"a-00": "8", "a-01": "124"}
    write_table(path / "utt2num_frames", {"a-00": "148", "a-01": "248"})
    (path / "utt2dur").unlink()
    (path / "frame_shift").write_text("0.01\n")
    main(["utt2dur", str(path)])
    assert read_table(path / "utt2dur") == {"a-00": "1.495", "a-01": "2.495"}
    (path / "utt2dur").unlink()
    write_table(path / "wav.scp", {"r": "/x"})
    write_table(path / "segments", {"a-00": "r 0.25 1", "a-01": "r 1 3.5"})
    main(["utt2dur", str(path)])
    assert read_table(path / "utt2dur") == {"a-00": "0.75", "a-01": "2.5"}
    capsys.readouterr()
    main(["utt2dur", str(path)])
    assert "is there already" in capsys.readouterr().out
    write_table(path / "segments", {"a-00": "r 0.25 1"})
    (path / "utt2dur").unlink()
    with pytest.raises(InputError, match="no length for utterance 'a-01' of utt2spk"):
        main(["utt2dur", str(path)])


def test_lengths_of_what_commands_put_out(tmp_path):
    """Kaldi's own layout of LibriSpeech: ``flac -c -d -s FILE |``."""
    path = make(tmp_path / "d", {"a": 2})
    soundfile.write(tmp_path / "two.wav", np.full((8000, 2), 0.1), 16000)
    write_table(path / "wav.scp", {"a-00": f"cat {tmp_path}/two.wav |", "a-01": f"{tmp_path}/two.wav"})
    (path / "utt2dur").unlink()
    for options, told in (
        ([], r"utterance 'a-00': is a command \(give --allow-pipes true"),
        (["--allow-pipes", "true"], r"'a-00': has 2 channels, want one \(choose one: .*--channel 0\)"),
    ):
        for command in ("utt2dur", "utt2num-frames"):
            with pytest.raises(InputError, match=told):
                main([command, *options, str(path)])
    main(["utt2dur", "--allow-pipes", "true", "--channel", "0", str(path)])  # 0 is a channel, -1 is none
    (path / "utt2dur").unlink()
    options = ["--allow-pipes", "true", "--channel", "1"]
    main(["utt2num-frames", *options, str(path)])
    assert read_table(path / "utt2dur") == {"a-00": "0.5", "a-01": "0.5"}
    assert read_table(path / "utt2num_frames") == {"a-00": "48", "a-01": "48"}
    write_table(path / "segments", {"a-00": "r 0.25 -1", "a-01": "r 0 0.25"})
    with pytest.raises(InputError, match=r"wav\.scp: there is no recording 'r'"):
        (path / "utt2dur").unlink()
        main(["utt2dur", *options, str(path)])
    write_table(path / "wav.scp", {"r": f"cat {tmp_path}/two.wav |"})
    main(["utt2dur", *options, str(path)])
    assert read_table(path / "utt2dur") == {"a-00": "0.25", "a-01": "0.25"}


def test_ids_that_begin_with_a_hyphen_and_inversion(tmp_path, capsys):
    path = make(tmp_path / "d", {"-x": 2, "0": 1})
    main(["validate", "--no-feats", str(path)])
    main(["utt2spk-to-spk2utt", str(path / "utt2spk")])
    assert capsys.readouterr().out.splitlines()[1:] == (path / "spk2utt").read_text().splitlines()
    main(["spk2utt-to-utt2spk", str(path / "spk2utt")])
    assert capsys.readouterr().out == (path / "utt2spk").read_text()

import pytest

from speechrep.bin.data_dir import main
from speechrep.errors import InputError
from speechrep.io.data_dir import DataDir, Segment, invert
from speechrep.io.data_valid import validate

FILES = {
    "wav.scp": "s1-a /x/a.flac\ns1-b /x/b.flac\ns2-a /x/c.flac\n",
    "text": "s1-a HELLO THERE\ns1-b IT'S\ns2-a NO\n",
    "utt2spk": "s1-a s1\ns1-b s1\ns2-a s2\n",
    "spk2utt": "s1 s1-a s1-b\ns2 s2-a\n",
    "utt2dur": "s1-a 1.5\ns1-b 2\ns2-a 0.5\n",
    "spk2gender": "s1 f\ns2 m\n",
    "phones.ctm": "s1-a 1 0 1.5 SIL\n",
}


@pytest.fixture
def data_dir(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def test_reads_and_validates(data_dir):
    validate(data_dir)
    data = DataDir(data_dir)
    assert data.utt_ids == ["s1-a", "s1-b", "s2-a"]
    assert data.spk2utt == invert(data.utt2spk) == {"s1": ["s1-a", "s1-b"], "s2": ["s2-a"]}
    assert data.utt2dur["s1-b"] == 2 and data.text["s1-b"] == "IT'S" and data.segments == {}
    with pytest.raises(InputError, match="nowhere: no such data directory"):
        DataDir(data_dir / "nowhere")


FAULTS = [
    ("text", "s1-b IT'S\ns1-a HELLO\ns2-a NO\n", r"text:2: 's1-a' comes after 's1-b': not sorted in C order"),
    ("text", "s1-a A\ns1-a B\ns1-b C\ns2-a D\n", r"text:2: 's1-a' is given twice"),
    ("text", "s1-a A\ns2-a D\n", r"text: utterance 's1-b' of utt2spk is missing"),
    ("text", "s1-a A\ns1-b B\ns1-c C\ns2-a D\n", r"text: utterance 's1-c' is not in utt2spk"),
    ("text", "s1-a A\ns1-b\ns2-a D\n", r"text:2: utterance 's1-b' has an empty transcript"),
    ("text", "s1-a A\ns1-b B\u00a0C\ns2-a D\n", r"text:2: utterance 's1-b' holds the character '\\xa0'"),
    ("text", "s1-a A\ns1-b <s> B\ns2-a D\n", r"text:2: utterance 's1-b' holds the symbol '<s>'"),
    ("text", "s1-a A\ns1-b B\ns2-a D", r"text: no newline at the end, after 's2-a'"),
    ("utt2spk", "s1-a s1\ns1-b s1 x\ns2-a s2\n", r"utt2spk:2: 's1-b': want 'utterance speaker'"),
    ("utt2spk", "", r"utt2spk: empty file"),
    ("utt2spk", "s1-a s2\ns1-b s2\ns2-a s1\n", r"utt2spk:3: utterance 's2-a': speaker 's1' comes after 's2'"),
    ("spk2utt", "s1 s1-a\ns2 s2-a\n", r"spk2utt:1: speaker 's1' has other utterances .* first 's1-b'"),
    ("spk2utt", "s1 s1-a s1-b\n", r"spk2utt: speaker 's2' of utt2spk is missing"),
    ("spk2utt", "s1 s1-b s1-a\ns2 s2-a\n", r"spk2utt:1: speaker 's1' has other utterances"),
    ("wav.scp", "s1-a /x/a.flac\ns1-b /x/b.flac\n", r"wav\.scp: utterance 's2-a' of utt2spk is missing"),
    ("wav.scp", "s1-a ~/a.flac\ns1-b /b.flac\ns2-a /c\n", r"wav\.scp: 's1-a': '~'"),
    ("utt2dur", "s1-a 1.5\ns1-b 0\ns2-a 0.5\n", r"utt2dur: 's1-b' is 0, want more than 0"),
    ("utt2dur", "s1-a 1.5\ns1-b long\ns2-a 0.5\n", r"utt2dur: 's1-b' is 'long', want a number"),
    ("utt2num_frames", "s1-a 1\ns1-b 1.5\ns2-a 2\n", r"utt2num_frames: 's1-b' is '1.5', want a number"),
    ("spk2gender", "s1 f\ns2 x\n", r"spk2gender:2: 's2' is 'x', want m or f"),
    ("spk2gender", "s1 F\ns2 m\n", r"spk2gender:1: 's1' is 'F', want m or f"),
    ("phones.ctm", "s9 1 0 1 SIL\n", r"phones\.ctm: utterance 's9' is not in utt2spk"),
    ("segments", "s1-a r1 0 1\ns1-b r1 1 1\ns2-a r2 0 1\n", r"segments:2: utterance 's1-b': bad times"),
    ("segments", "s1-a r1 0 1\ns1-b r1 1\ns2-a r2 0 1\n", r"segments:2: utterance 's1-b': want"),
    (
        "segments",
        "s1-a r1 0 1\ns1-b r1 1 2\ns2-a r2 0 1\n",
        r"segments: utterance 's1-a': recording 'r1' is not",
    ),
]


@pytest.mark.parametrize(("name", "content", "message"), FAULTS)
def test_faults_name_file_line_and_utterance(name, content, message, data_dir):
    (data_dir / name).write_text(content)
    with pytest.raises(InputError, match=message):
        validate(data_dir)


@pytest.mark.parametrize("name", ["utt2spk", "spk2utt", "wav.scp", "text"])
def test_required_files(name, data_dir):
    (data_dir / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such file"):
        validate(data_dir)


def test_what_is_not_required_is_checked_all_the_same(data_dir):
    (data_dir / "text").unlink()
    validate(data_dir, text=False)
    with pytest.raises(InputError, match=r"feats\.scp: no such file"):
        validate(data_dir, text=False, feats=True)
    (data_dir / "text").write_text("s1-a A\n")
    with pytest.raises(InputError, match="missing"):
        validate(data_dir, text=False)


def test_segments(data_dir):
    (data_dir / "wav.scp").write_text("r1 /x/a.flac\nr2 /x/b.flac\n")
    (data_dir / "segments").write_text("s1-a r1 0 1\ns1-b r1 1 2\ns2-a r2 0.5 -1\n")
    validate(data_dir)
    assert DataDir(data_dir).segments["s2-a"] == Segment("r2", 0.5, None)
    (data_dir / "wav.scp").write_text("r1 /x/a.flac\nr2 /x/b.flac\nr3 /x/c.flac\n")
    with pytest.raises(InputError, match="recording 'r3' has no utterance"):
        validate(data_dir)


@pytest.mark.parametrize("name", ["reco2dur", "reco2file_and_channel"])
def test_tables_of_recordings_know_no_others(name, data_dir):
    rest = {"reco2dur": " 2", "reco2file_and_channel": " f A"}[name]
    (data_dir / name).write_text(f"s1-a{rest}\ns1-b{rest}\n")
    validate(data_dir)
    (data_dir / name).write_text(f"s1-a{rest}\nzz{rest}\n")
    with pytest.raises(InputError, match=f"{name}: recording 'zz' is not in utt2spk"):
        validate(data_dir)
    (data_dir / "wav.scp").write_text("r1 /x/a.flac\n")
    (data_dir / "segments").write_text("s1-a r1 0 1\ns1-b r1 1 2\ns2-a r1 2 3\n")
    with pytest.raises(InputError, match=f"{name}: recording 's1-a' is not in segments"):
        validate(data_dir)
    (data_dir / name).write_text(f"r1{rest}\n")
    validate(data_dir)
    (data_dir / name).write_text("")  # a part of a set whose recordings it did not name
    validate(data_dir)


def test_sorted_as_people_sort_is_not_sorted(tmp_path):
    """Capitals come before small letters in C order, wherever the sort that made the file put them."""
    (tmp_path / "utt2spk").write_text("a-1 a\nB-1 B\n")
    (tmp_path / "spk2utt").write_text("a a-1\nB B-1\n")
    with pytest.raises(InputError, match=r"utt2spk:2: 'B-1' comes after 'a-1': not sorted in C order"):
        validate(tmp_path, text=False, wav=False)


def test_characters_that_cannot_be_printed_may_be_asked_for_but_no_other_blanks(data_dir):
    (data_dir / "text").write_text("s1-a A\u200bB\ns1-b B\ns2-a C\n")
    main(["validate", "--no-feats", "--non-print", str(data_dir)])
    with pytest.raises(InputError, match=r"text:1: utterance 's1-a' holds the character '\\u200b'"):
        main(["validate", "--no-feats", str(data_dir)])
    (data_dir / "text").write_text("s1-a A\u200bB\ns1-b B\u2003C\ns2-a C\n")
    with pytest.raises(InputError, match=r"text:2: utterance 's1-b' holds the character '\\u2003'"):
        main(["validate", "--no-feats", "--non-print", str(data_dir)])


def test_a_transcript_without_words_can_be_read(data_dir):
    (data_dir / "text").write_text("s1-a A\ns1-b\ns2-a C\n")
    assert DataDir(data_dir).text == {"s1-a": "A", "s1-b": "", "s2-a": "C"}


def test_speaker_that_is_a_prefix_of_another(tmp_path):
    """Joined by ``_`` the ids of speakers 25522 and 255224 do not sort as the speakers; by ``-`` they do."""
    for joint, good in (("-", True), ("_", False)):
        ids = sorted(f"{spk}{joint}0001" for spk in ("25522", "255224"))
        (tmp_path / "utt2spk").write_text("".join(f"{utt} {utt.split(joint)[0]}\n" for utt in ids))
        (tmp_path / "spk2utt").write_text(f"25522 25522{joint}0001\n255224 255224{joint}0001\n")
        if good:
            validate(tmp_path, text=False, wav=False)
        else:
            with pytest.raises(InputError, match="does not sort by speaker"):
                validate(tmp_path, text=False, wav=False)

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.errors import InputError
from speechrep.io.alignment import (
    ARPABET,
    PHONES,
    Interval,
    fold_phone,
    read_ctm,
    read_phone_textgrid,
    read_textgrid,
    write_ctm,
    write_textgrid,
)

LONG = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "say ""xmax = 3"" 7"
        intervals [2]:
            xmin = 0.5
            xmax = 1.5
            text = ""
    item [2]:
        class = "TextTier"
        name = "events"
        xmin = 0
        xmax = 1.5
        points: size = 1
        points [1]:
            number = 0.25
            mark = "click"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.5
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.25
            text = "S"
        intervals [2]:
            xmin = 0.25
            xmax = 0.5
            text = "EY1"
        intervals [3]:
            xmin = 0.5
            xmax = 1
            text = "spn"
        intervals [4]:
            xmin = 1
            xmax = 1.5
            text = ""
"""


def test_folding():
    assert len(ARPABET) == 39 and len(PHONES) == 41
    assert [fold_phone(p) for p in ("AH0", "ER2", "ah", "sil", "sp", "", "SIL", "spn", "ZH")] == (
        ["AH", "ER", "AH", "SIL", "SIL", "SIL", "SIL", "SPN", "ZH"]
    )
    # Kaldi's marks of the place in a word.
    assert [fold_phone(p) for p in ("AH0_B", "B_I", "ER2_E ", "S_S", "SIL_B", "spn_S")] == (
        ["AH", "B", "ER", "S", "SIL", "SPN"]
    )
    for label in ("Q", "_B", "AH_X"):
        with pytest.raises(InputError, match=f"'{label}' is not an ARPAbet phone"):
            fold_phone(label)


def test_textgrid_long_format(tmp_path):
    path = tmp_path / "u.TextGrid"
    path.write_text(LONG)
    tiers = read_textgrid(path)
    assert tiers["words"] == [(0, 0.5, 'say "xmax = 3" 7'), (0.5, 1.5, "")]
    assert [label for *_, label in read_phone_textgrid(path)] == ["S", "EY1", "spn", "SIL"]
    path.write_bytes(LONG.encode("utf-16"))
    assert read_textgrid(path) == tiers


def test_textgrid_damaged(tmp_path):
    path = tmp_path / "u.TextGrid"
    for end in range(0, len(LONG) - 3, 37):  # cut anywhere: an error that names the file, or the whole
        path.write_text(LONG[:end])
        with pytest.raises(InputError, match=r"u\.TextGrid"):
            read_textgrid(path)
    path.write_text(LONG.replace("xmin = 0.25", "xmin = 0.125"))
    with pytest.raises(InputError, match=r"'EY1' at 0\.125 s is out of order"):
        read_textgrid(path)
    path.write_text(LONG.replace('"phones"', '"phone"'))
    with pytest.raises(InputError, match="no tier 'phones'"):
        read_phone_textgrid(path)
    path.write_text(LONG.replace('"EY1"', '"EY9"'))
    with pytest.raises(InputError, match=r"u\.TextGrid: 'EY9' is not"):
        read_phone_textgrid(path)


durations = st.lists(st.integers(1, 5000), min_size=1, max_size=8)


@settings(max_examples=30, deadline=None)
@given(durations=durations, label=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"])))
def test_textgrid_and_ctm_round_trip(durations, label, tmp_path_factory):
    folder, intervals, start = tmp_path_factory.mktemp("a"), [], 0
    for units in durations:
        intervals.append(Interval(start / 10000, (start + units) / 10000, "AA"))
        start += units
    tiers = {"phones": intervals, label or "words": [Interval(0, 1, label)]}
    write_textgrid(folder / "x.TextGrid", tiers)
    assert read_textgrid(folder / "x.TextGrid") == tiers
    write_ctm(folder / "ctm", {"u2": intervals, "u1": intervals})
    assert read_ctm(folder / "ctm") == {"u1": intervals, "u2": intervals}
    assert (folder / "ctm").read_text().startswith("u1 1 0.0000 ")


def test_neighbours_still_touch_once_their_times_are_rounded(tmp_path):
    ends = np.random.default_rng(0).uniform(0.01, 0.2, 200).cumsum().tolist()
    write_ctm(tmp_path / "ctm", {"u": [Interval(*times, "AA") for times in itertools.pairwise([0.0, *ends])]})
    for one, other in itertools.pairwise(read_ctm(tmp_path / "ctm")["u"]):
        assert one.end_s == other.start_s


def test_neighbours_rounded_to_whole_milliseconds_are_in_order(tmp_path):
    """Start and duration by themselves: an interval may end 1 ms after the next began."""
    for end_ms in range(1, 400):
        row = f"u 1 0 {end_ms / 1000:.3f} AA\nu 1 {{:.3f}} 0.1 AE\n"
        (tmp_path / "ctm").write_text(row.format((end_ms - 1) / 1000))
        assert len(read_ctm(tmp_path / "ctm")["u"]) == 2
    (tmp_path / "ctm").write_text(row.format((end_ms - 2) / 1000))
    with pytest.raises(InputError, match="overlaps"):
        read_ctm(tmp_path / "ctm")


@pytest.mark.parametrize(
    "line", ["u 1 0.5", "u 1 x 0.5 AA", "u 1 0.1 0.5 AA", "u 1 0.5 -1 AA", "u 1 nan 1 AA"]
)
def test_ctm_faults_are_named(line, tmp_path):
    path = tmp_path / "phones.ctm"
    path.write_text(f"u 1 0 0.5 SIL\n{line}\n")
    with pytest.raises(InputError, match=r"phones\.ctm:2: .*u"):
        read_ctm(path)

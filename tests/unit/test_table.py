import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechrep.errors import InputError
from speechrep.io.table import read_table, write_table

words = st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]), min_size=1, max_size=5)


@settings(max_examples=30, deadline=None)
@given(table=st.dictionaries(words, st.lists(words, min_size=1, max_size=3).map(" ".join), max_size=8))
def test_round_trip_sorted_as_bytes(table, tmp_path_factory):
    path = tmp_path_factory.mktemp("t") / "table"
    write_table(path, table)
    assert read_table(path) == table
    keys = [line.split(b" ")[0] for line in path.read_bytes().splitlines() if line]
    assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a x\na y\n", r"table:2: 'a' is given twice"),
        (b"a x\n\n", r"table:2: empty line"),
        (b"a x\n b y\n", r"table:2: begins with a blank"),
        (b"a\n", r"table:1: 'a' has no value"),
        (b"a x\r\n", r"table:1: the line ends with a carriage return"),
        (b"a \xff\n", r"table:1: not UTF-8"),
    ],
)
def test_bad_lines_are_named(content, message, tmp_path):
    path = tmp_path / "table"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(path)


def test_key_alone_only_when_allowed(tmp_path):
    path = tmp_path / "hyp"
    write_table(path, {"b": "", "a": "X Y"})
    assert path.read_bytes() == b"a X Y\nb\n"
    assert read_table(path, allow_empty=True) == {"a": "X Y", "b": ""}


def test_missing_file_and_bad_key(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such file"):
        read_table(tmp_path / "nowhere")
    with pytest.raises(InputError, match="cannot be a key"):
        write_table(tmp_path / "t", {"a b": "x"})
    assert not list(tmp_path.iterdir())

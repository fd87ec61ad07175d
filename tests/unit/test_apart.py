"""Reading in a process apart: what it may take, and what is told of it."""

import resource

import pytest

from speechrep.errors import InputError
from speechrep.io import apart
from speechrep.io.apart import read_apart


def test_it_leaves_no_core_behind():
    """One of this process's size would be written for each damaged file."""
    core = resource.RLIMIT_CORE
    before = resource.getrlimit(core)
    resource.setrlimit(core, (before[1], before[1]))
    try:
        assert read_apart(lambda: str(resource.getrlimit(core)[0]).encode(), "x", 5, 1 << 30) == b"0"
    finally:
        resource.setrlimit(core, before)


def test_it_is_told_what_to_do():
    with pytest.raises(InputError, match=r"x: reading it takes too much memory.*\(fetch it again\)"):
        read_apart(lambda: bytes(1 << 40), "x", 5, 1 << 20, "fetch it again")


def test_its_own_errors_are_told_whole():
    def refuse():
        raise InputError("is odd", where="within x", mend="mend it")

    with pytest.raises(InputError, match=r"^within x: is odd \(mend it\)$"):
        read_apart(refuse, "x", 5, 1 << 30)


@pytest.mark.parametrize(("hard", "wanted"), [(5, 5), (50, 10), (resource.RLIM_INFINITY, 10)])
def test_what_a_site_allows_is_not_gone_beyond(monkeypatch, hard, wanted):
    told = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (hard, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: told.append(limits))
    apart._limit(resource.RLIMIT_CPU, 10)
    assert told == [(wanted, hard)]

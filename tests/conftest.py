"""Fixtures that several test files share."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real speech beside the checkout; a test that wants it skips without it."""
    folder = Path(os.environ.get("SPEECHREP_SHARED", REPOSITORY.parent / "shared")) / "data"
    if not folder.is_dir():
        pytest.skip(f"real speech not found at {folder}; set SPEECHREP_SHARED to its parent")
    return folder


@pytest.fixture
def hangup_heard() -> Iterator[None]:
    """What a test starts hears SIGHUP, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)

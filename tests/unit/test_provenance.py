"""What made a result is told truly, or not at all."""

import datetime
import shutil
import subprocess
import sys
import time
from pathlib import Path

import speechrep
from speechrep import provenance

PACKAGE = Path(speechrep.__file__).parent


def test_another_projects_commit_is_not_ours(tmp_path):
    """A package installed within a checkout, as pip does it in a folder .venv of it."""
    place = tmp_path / "theirs/site/speechrep"
    place.mkdir(parents=True)
    for name in ("__init__.py", "provenance.py"):
        shutil.copy(PACKAGE / name, place)
    (tmp_path / "theirs/readme").write_text("x")
    git = ["git", "-C", str(tmp_path / "theirs"), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "readme"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *words], check=True)
    ask = "from speechrep.provenance import commit; print(commit())"
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(place.parent)!r}); {ask}"]
    told = subprocess.run(run, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert told == f"v{speechrep.__version__}\n"
    subprocess.run([*git, "add", "site"], check=True)  # now it is the checkout's own
    told = subprocess.run(run, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
    assert len(told.strip().removesuffix("-dirty")) == 40
    subprocess.run([*git, "commit", "-q", "-m", "y"], check=True)
    (tmp_path / "theirs/exp").write_text("what was trained here changes no code")
    for changed in (False, True):
        told = subprocess.run(run, check=True, capture_output=True, text=True, cwd=tmp_path).stdout
        assert told.endswith("-dirty\n") == changed
        (tmp_path / "theirs/readme").write_text("z")


def test_times_are_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        told = datetime.datetime.fromisoformat(provenance.now())
    finally:
        monkeypatch.undo()
        time.tzset()
    assert told.utcoffset() == datetime.timedelta(0)

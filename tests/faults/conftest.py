"""The laboratories, and the collection of what was seen in them."""

import json
import os
import shutil
from collections.abc import Callable, Iterator

import pytest
from lab import RECIPES, Lab


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All but the fast file are slow."""
    for item in items:
        if item.path.parent.name == "faults" and item.path.name != "test_faults_fast.py":
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Lab]]:
    """Laboratories by recipe, made when asked for."""
    if not shutil.which("gcc"):
        pytest.skip("faults are injected by a library that gcc builds, and there is no gcc")
    made: dict[str, Lab] = {}

    def lab(name: str, light: bool = False) -> Lab:
        if name not in made:
            made[name] = Lab(RECIPES[name], tmp_path_factory.mktemp(name), light)
        return made[name]

    yield lab
    for one in made.values():
        one.close()


@pytest.fixture
def record() -> Callable[..., None]:
    """Notes an outcome in the file that SPEECHREP_FAULTS names; one line, so that processes do not mix."""

    def note(**row: str) -> None:
        if path := os.environ.get("SPEECHREP_FAULTS"):
            with open(path, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    return note

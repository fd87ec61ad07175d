"""utils/training_order.py: a model that begins with another's weights is trained after it."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "utils/training_order.py"


@pytest.fixture
def order(tmp_path):
    """A function of each name's line in its configuration."""

    def run(**lines):
        words = []
        for name, line in lines.items():
            (tmp_path / f"{name}.yaml").write_text(f"lr: 1\n{line}\n")
            words.append(f"{name}={name}.yaml")
        command = [sys.executable, TOOL, "exp/x", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)

    return run


def test_each_waits_for_the_one_that_it_begins_with(order, tmp_path):
    done = order(
        c="init_from: exp/x/b/", b="'init-from' : ./exp/x/a/model.safetensors", a="",
        other="init-from: exp/y/a", a_untrained="", none="init-from:",
        b_untrained=f"init-from: {tmp_path}/exp/x/a  # as b",
    )  # fmt: skip
    assert done.stdout == "a other a_untrained none\nb b_untrained\nc\n", done.stderr


@pytest.mark.parametrize(
    "lines", [{"a": "init-from: exp/x/b", "b": "init-from: exp/x/a"}, {"a": "init-from: exp/x/a"}]
)
def test_a_circle_is_told(order, lines):
    done = order(**lines, c="")
    assert done.returncode == 1
    assert done.stderr == f"training_order.py: error: {', '.join(lines)}: init-from leads round in a circle\n"


def test_what_is_wrong_with_a_configuration_is_not_its_matter(order):
    assert order(a="[", b="init-from: exp/x/a").stdout == "a\nb\n"

"""How many cores a recipe uses where nobody says it."""

import subprocess
from pathlib import Path

import pytest

CORES = Path(__file__).parents[2] / "utils/cores.sh"
MACHINE = int(subprocess.run(["env", "-i", "nproc"], capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("files", "share"),
    [
        ({}, 10**6),
        ({"cpu.max": "max 100000\n"}, 10**6),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "100000000 100000\n"}, 1000),
        ({"cpu.max": "nothing known"}, 10**6),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 10**6),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_a_containers_share_counts(tmp_path, files, share):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    done = subprocess.run([CORES, tmp_path], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{min(MACHINE, share)}\n", "")


def test_here_it_is_a_number_even_with_one_thread_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    done = subprocess.run([CORES], capture_output=True, text=True, check=True)
    assert 1 <= int(done.stdout) <= MACHINE

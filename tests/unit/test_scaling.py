"""docs/scaling.md says what its script computes."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_tables_of_the_docs_are_the_scripts():
    script = [sys.executable, REPOSITORY / "benchmarks/scaling.py"]
    tables = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    assert (REPOSITORY / "docs/scaling.md").read_text().endswith(tables)
    assert "### 1,000,000 h" in tables


def test_twice_the_corpus_is_twice_the_disk():
    script = [sys.executable, REPOSITORY / "benchmarks/scaling.py", "--hours", "1000 2000"]
    tables = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    flac = [line.split("|")[4].strip() for line in tables.splitlines() if line.startswith("| corpus")]
    assert flac == ["66 GB", "130 GB"]  # of 183.9 bytes per frame

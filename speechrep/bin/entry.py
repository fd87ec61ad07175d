"""What the installed programs ``speechrep-<command>`` start: the command of the same name.

speechrep-extract-feats --help
"""

import runpy
import sys
from pathlib import Path


def main() -> None:
    """Run ``speechrep/bin/<command>.py`` as ``python -m`` would."""
    command = Path(sys.argv[0]).stem.removeprefix("speechrep-").replace("-", "_")
    runpy.run_module(f"speechrep.bin.{command}", run_name="__main__", alter_sys=True)

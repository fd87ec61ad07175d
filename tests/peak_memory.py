"""The greatest resident memory of a piece of code, for tests and benchmarks."""

import subprocess
import sys

_TELL = """
import sys
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024, file=sys.stderr)  # ru_maxrss would begin with the parent's
"""


def measured(code: str, *words: object) -> tuple[str, int]:
    """Run ``code`` in a Python process of its own, ``words`` in its ``sys.argv``.

    Returns:
        What it printed, and the greatest memory it had, MB.
    """
    command = [sys.executable, "-c", code + _TELL, *map(str, words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout, int(done.stderr.split()[-1])

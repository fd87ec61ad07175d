"""One thin command per step: ``python -m speechrep.bin.<name> --help``."""

import logging
import os
import sys
from collections.abc import Callable

from speechrep.errors import InputError


def run(main: Callable[[], None]) -> None:
    """Run a command: log to stderr, tell a user's mistake in one line, exit 0 only on full success."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    try:
        main()
    except InputError as error:
        sys.exit(f"{os.path.basename(sys.argv[0])}: error: {error}")
    except BrokenPipeError:  # the reader of our output left, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

"""Run many of our commands in one process, each a line of standard input such as ``dump --upstream ...``.

    python -m speechrep.bin.many <<<'dump --upstream exp/apc --feats-dir dump/fbank80/dev --out apc.h5'

They are decode, dump, pretrain, score, train_downstream and verify. Starting Python and importing torch takes
seconds, a linear probe often less. The first command that fails ends it. A training on several GPUs takes the
process over: what follows it would not run.
"""

import logging
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from speechrep.bin import decode, dump, pretrain, run, score, train_downstream, verify
from speechrep.config import make_parser
from speechrep.errors import InputError

logger = logging.getLogger("many")

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "decode": decode.main,
    "dump": dump.main,
    "pretrain": pretrain.main,
    "score": score.main,
    "train_downstream": train_downstream.main,
    "verify": verify.main,
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    make_parser(__doc__).parse_args(argv)
    for number, line in enumerate(sys.stdin, start=1):
        words = _words(line, number)
        if not words:
            continue
        if words[0] not in COMMANDS:
            raise InputError(
                f"no command {words[0]!r}, want one of {sorted(COMMANDS)}", where=f"line {number}"
            )
        began = time.process_time()
        try:
            COMMANDS[words[0]](words[1:])
        except InputError as error:
            raise InputError(f"{words[0]}: {error}", where=f"line {number}") from error
        logger.info("line %d, %s: %.1f s of processor time", number, words[0], time.process_time() - began)


def _words(line: str, number: int) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError as error:
        raise InputError(f"{str(error).lower()} in {line.strip()!r}", where=f"line {number}") from None


if __name__ == "__main__":
    run(main)

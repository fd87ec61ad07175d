#!/usr/bin/env python3
"""In which order models are trained, as one may begin with the weights of another: a line of names for those
that need not wait for each other, then those that begin with one of them, and so on.

utils/training_order.py exp/demo apc=conf/apc.yaml adapted=my-conf/adapted.yaml
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from speechrep.config import load_yaml
from speechrep.errors import InputError


def main() -> None:
    """Print the lines; names that are equal to the name of no folder in the experiment wait for nobody."""
    exp, confs = sys.argv[1], dict(word.partition("=")[::2] for word in sys.argv[2:])
    folders = {os.path.realpath(os.path.join(exp, name)): name for name in confs}
    try:
        for names in waves({name: folders.get(begins_with(conf), "") for name, conf in confs.items()}):
            print(*names)
    except InputError as error:
        sys.exit(f"training_order.py: error: {error}")


def begins_with(conf: str) -> str:
    """The folder of the model that a configuration's ``init-from`` names; "" if it names none."""
    try:
        options = load_yaml(Path(conf).read_bytes(), conf)
    except (InputError, OSError):  # the command will say what is wrong with it
        return ""
    found = [value for key, value in options.items() if str(key).replace("_", "-") == "init-from"]
    path = os.path.realpath(str(found[-1])) if found and found[-1] else ""
    return os.path.dirname(path) if os.path.basename(path).startswith("model.") else path


def waves(before: Mapping[str, str]) -> list[list[str]]:
    """Names in groups, none in the group of the name before it or in an earlier one.

    Args:
        before: of each name that which it waits for, or "".

    Raises:
        InputError: some wait for each other.
    """
    left, found = dict(before), []
    while left:
        group = [name for name, other in left.items() if other not in left]
        if not group:
            raise InputError(f"{', '.join(left)}: init-from leads round in a circle")
        found.append(group)
        left = {name: other for name, other in left.items() if name not in group}
    return found


if __name__ == "__main__":
    main()

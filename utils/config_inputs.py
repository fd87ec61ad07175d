#!/usr/bin/env python3
"""What a configuration leads to: files and folders that its values name, and, of a data directory's features,
its table of recordings, or that of ready-made features and the archives that it names; a path a line.

utils/config_inputs.py conf/kaldi_scp.yaml [data/train]
"""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechrep.config import load_yaml
from speechrep.errors import InputError

MADE = ("model.json", "model.safetensors", "tokenizer.json", "lm.arpa")
MOST = 1000  # more, one for each utterance say, are too many for a command line: then their folders


def main() -> None:
    """Print what there is; what is wrong with it the command will tell that reads it."""
    paths: set[str] = set()
    with contextlib.suppress(InputError, OSError):
        options = load_yaml(Path(sys.argv[1]).read_bytes(), sys.argv[1])
        if len(sys.argv) > 2:
            data_dir = Path(sys.argv[2])
            is_ready = "kaldi" in str(options.get("feature"))
            recordings = {str(data_dir / name) for name in ("wav.scp", "segments")}
            paths = ready_made(options, data_dir) if is_ready else recordings
        # A name alone may be that of something else: of a front end, say, beside a folder "mel".
        texts = [value for value in options.values() if isinstance(value, str)]
        named = {text for text in texts if os.sep in text or os.path.isfile(text) or is_made(text)}
        paths = paths.union(*map(what_is_read, named))
    sys.stdout.writelines(f"{path}\n" for path in sorted(paths) if os.path.exists(path))


def what_is_read(path: str) -> set[str]:
    """The path; of a model's or a tokenizer's folder only what they are, as others are written there, too."""
    return is_made(path) or {path}


def is_made(path: str) -> set[str]:
    """What a folder has of a model or a tokenizer; empty if it is none."""
    return {file for file in (os.path.join(path, name) for name in MADE) if os.path.exists(file)}


def ready_made(options: Mapping[str, Any], data_dir: Path) -> set[str]:
    """The table of a data directory's features, and where they lie."""
    from speechrep.frontend.ready import ReadyConfig, ReadySource, in_hdf5
    from speechrep.io.ark import parse_spec

    config = ReadyConfig(str(options.get("scp", ReadyConfig.scp)))
    paths = {str(config.place(data_dir))}
    with contextlib.suppress(InputError):
        source = ReadySource(config, data_dir)
        for utt_id in source.utt_ids:
            place = source.identity(utt_id)[1]
            paths.add((in_hdf5(place) or parse_spec(place))[0])
    return paths if len(paths) <= MOST else {os.path.dirname(path) or "." for path in paths}


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""What ready-made features are read from: their table and the archives that it names, a path a line.

utils/ready_inputs.py conf/kaldi_scp.yaml data/train
"""

import contextlib
import os
import sys
from pathlib import Path

from speechrep.config import load_yaml
from speechrep.errors import InputError
from speechrep.frontend.ready import ReadyConfig, ReadySource
from speechrep.io.ark import parse_spec

MOST = 1000  # more, one for each utterance say, are too many for a command line: then their folders


def main() -> None:
    """Print what there is; what is wrong with it extract_feats will tell."""
    config, data_dir = Path(sys.argv[1]), Path(sys.argv[2])
    paths: set[str] = set()
    with contextlib.suppress(InputError):
        scp = load_yaml(config.read_bytes(), config).get("scp", ReadyConfig.scp)
        paths.add(str(data_dir / scp.replace("{set}", data_dir.resolve().name)))
        source = ReadySource(ReadyConfig(scp), data_dir)
        for utt_id in source.utt_ids:
            path = parse_spec(source.identity(utt_id)[1])[0]
            paths.add(path if os.path.exists(path) else path.rpartition(":")[0])  # the latter of file.h5:key
    if len(paths) > MOST:
        paths = {os.path.dirname(path) or "." for path in paths}
    sys.stdout.writelines(f"{path}\n" for path in sorted(paths) if os.path.exists(path))


if __name__ == "__main__":
    main()

"""torchrun that ends as one process alone does when a signal comes: with 75 if all its processes have saved.

python -m speechrep.train.launch [torchrun's options] -m MODULE [its options]
"""

import os
import signal
import sys
import tempfile

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig
from torch.distributed.run import main, parse_args

from speechrep.train.trainer import NOTES, Interrupted

if __name__ == "__main__":
    # Under nohup, which torchrun would undo; before this option it could not be told.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN and hasattr(LaunchConfig, "signals_to_handle"):
        sys.argv.insert(1, "--signals-to-handle=SIGTERM,SIGINT,SIGQUIT")
    with tempfile.TemporaryDirectory() as folder:
        os.environ[NOTES] = folder
        try:
            main()
        except (SignalException, ChildFailedError):  # all processes have ended by now
            if len(os.listdir(folder)) < int(parse_args(sys.argv[1:]).nproc_per_node):
                raise
            raise Interrupted from None

"""torchrun that ends as one process alone does when SIGTERM comes: its processes save, the status is 75.

python -m speechrep.train.launch [torchrun's options] -m MODULE [its options]
"""

import signal

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.run import main

from speechrep.train.trainer import Interrupted

if __name__ == "__main__":
    try:
        main()
    except SignalException as error:  # all processes have ended by now
        if error.sigval != signal.SIGTERM:
            raise
        raise Interrupted from None

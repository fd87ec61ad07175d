"""What a training command does with the options of utils/slurm.py --num-nodes: join the others, and add."""

import sys

import configargparse
import torch

from speechrep.train import distributed
from speechrep.train.run import add_run_options, begin

parser = configargparse.ArgParser()
add_run_options(parser)
args = parser.parse_args(["--exp-dir", "exp", *sys.argv[1:]])
begin(args, "tests.recipe.two_nodes", ["--exp-dir", "exp", *sys.argv[1:]], {}, ())
total = distributed.sum_over_ranks(torch.tensor(distributed.rank() + 1.0))
print(f"rank {distributed.rank()} of {distributed.world_size()}: {float(total)}", flush=True)
distributed.stop()

# shellcheck shell=bash
# Sourced by run.sh: how jobs are launched. Adapt the slurm lines to your cluster: memory, time, partition
# (utils/slurm.py --help). ${backend}, ${nj} and ${ngpu} are run.sh's options.
case "${backend:?}" in
  local)
    cpu_cmd="utils/run.py"
    cuda_cmd="utils/run.py"
    train_cmd="utils/run.py"
    array_cmd="" # features, representations and decoding start their jobs themselves
    cuda_array_cmd=""
    ;;
  slurm)
    cpu_cmd="utils/slurm.py --mem 8G --num-threads ${nj:?}"
    cuda_cmd="utils/slurm.py --mem 32G --num-threads 8 --gpu ${ngpu:?}"
    train_cmd="$cuda_cmd" # with --num-nodes N a training runs on N machines, --ngpu GPUs on each
    array_cmd="utils/slurm.py --mem 4G"
    cuda_array_cmd="utils/slurm.py --mem 8G --gpu $((ngpu > 0))"
    ;;
  *)
    echo "cmd.sh: error: unknown backend '$backend', want local or slurm" >&2
    exit 2
    ;;
esac
export cpu_cmd cuda_cmd train_cmd array_cmd cuda_array_cmd

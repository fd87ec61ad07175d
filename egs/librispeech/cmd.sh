# shellcheck shell=bash
# Sourced by run.sh: how jobs are launched. Adapt the slurm lines to your cluster: memory, time, partition
# (utils/slurm.py --help). ${backend}, ${nj} and ${ngpu} are run.sh's options.
case "${backend:?}" in
  local)
    cpu_cmd="utils/run.py"
    cuda_cmd="utils/run.py"
    array_cmd="" # feature extraction starts its jobs itself
    ;;
  slurm)
    cpu_cmd="utils/slurm.py --mem 8G --num-threads ${nj:?}"
    cuda_cmd="utils/slurm.py --mem 32G --num-threads 8 --gpu ${ngpu:?}"
    array_cmd="utils/slurm.py --mem 4G"
    ;;
  *)
    echo "cmd.sh: error: unknown backend '$backend', want local or slurm" >&2
    exit 2
    ;;
esac
export cpu_cmd cuda_cmd array_cmd

# shellcheck shell=bash
# Sourced by run.sh: how jobs are launched. Adapt the slurm lines to your cluster: memory, time, partition
# (utils/slurm.py --help). ${backend}, ${nj}, ${ngpu} and ${num_nodes} are run.sh's options.
case "${backend:-local}" in
  local)
    cpu_cmd="utils/run.py"
    pretrain_cmd="utils/run.py"
    train_cmd="utils/run.py"
    array_cmd="" # features, representations and decoding start their jobs themselves
    cuda_array_cmd=""
    ;;
  slurm)
    cpu_cmd="utils/slurm.py --mem 8G --num-threads $((${nj:?} < 8 ? nj : 8))" # of one machine, nj of all
    pretrain_cmd="utils/slurm.py --mem 32G --num-threads 8 --num-nodes ${num_nodes:?} --gpu ${ngpu:?}"
    train_cmd="utils/slurm.py --mem 32G --num-threads 8 --num-nodes $num_nodes --gpu $((ngpu > 0))"
    array_cmd="utils/slurm.py --mem 4G"
    cuda_array_cmd="utils/slurm.py --mem 8G --gpu $((ngpu > 0))"
    ;;
  *)
    echo "cmd.sh: error: unknown backend '$backend', want local or slurm" >&2
    exit 2
    ;;
esac
export cpu_cmd pretrain_cmd train_cmd array_cmd cuda_array_cmd

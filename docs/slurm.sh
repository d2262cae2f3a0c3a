#!/bin/bash
# One Ray over the nodes of a Slurm job, and the cells of a profile on it: `sbatch docs/slurm.sh paper`, from the
# folder that the profile runs in. A job that hits its time limit resumes when it is submitted again.
# It assumes: the environment (with ray) active where it is submitted; that, the repository and the home folder on a
# file system that all nodes share; nodes of one kind, which reach each other by Slurm's names; port 6379 free.
#SBATCH --job-name=lrs
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
set -euo pipefail
profile=${1:?name a profile}
cd "$SLURM_SUBMIT_DIR"
export PYTHONHASHSEED=0 TOKENIZERS_PARALLELISM=false
export RAY_AUTH_MODE=token  # else whoever reaches the port can run code; the token lies in ~/.ray
[[ -e ~/.ray/auth_token ]] || ray get-auth-token --generate > /dev/null

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=6379
resources="--num-cpus=$SLURM_CPUS_PER_TASK --num-gpus=${SLURM_GPUS_ON_NODE:-0}"
srun --nodes=1 --ntasks=1 --nodelist="$head" ray start --head --port=$port $resources --block &
sleep 30  # until it listens
others=$((SLURM_JOB_NUM_NODES - 1))
if ((others)); then
  srun --nodes=$others --ntasks=$others --exclude="$head" ray start --address="$head:$port" $resources --block &
  sleep 30
fi
python -m lrs cluster --profile "$profile" --stage "${2:-steering}" --address auto  # this runs on the first node

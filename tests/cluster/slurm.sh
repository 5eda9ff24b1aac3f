#!/usr/bin/env bash
# A Slurm of the test's own, one node: the shipped batch script saves before its time limit, is
# requeued, goes on and finishes in the bits of the undisturbed run.
#
#   tests/cluster/slurm.sh build/bin/kiln
#
# Exit status 77: skipped, with the reason.
set -uo pipefail
kiln=$(readlink -f "$1")
source_folder=$(cd "$(dirname "$0")/../.." && pwd)
steps=600
work=
daemons=()

clean_up() {
  [[ ${#daemons[@]} -gt 0 ]] && kill "${daemons[@]}" 2>/dev/null && sleep 1
  [[ -n $work ]] && pgrep -f "$work" | xargs -r kill -9 2>/dev/null
  [[ -n $work ]] && rm -rf "$work"
}
trap clean_up EXIT

[[ $EUID -eq 0 ]] || { echo "skipped: slurmd needs root"; exit 77; }
for program in munged slurmctld slurmd srun sbatch scontrol; do
  command -v $program >/dev/null || { echo "skipped: there is no $program (slurm-wlm, munge)"; exit 77; }
done

source "$(dirname "$0")/small_run.sh"

# ---- the cluster
chmod 755 "$work"
mkdir -p "$work/munge" "$work/state" "$work/spool"
dd if=/dev/urandom of="$work/munge/key" bs=1024 count=1 2>/dev/null
chmod 700 "$work/munge" && chmod 600 "$work/munge/key"
munged --foreground --force --key-file "$work/munge/key" --socket "$work/munge.socket" \
  --pid-file "$work/munge/pid" --log-file "$work/munge/log" --seed-file "$work/munge/seed" \
  >/dev/null 2>&1 &
daemons+=($!)
node=$(hostname -s)
cat >"$work/slurm.conf" <<CONF
ClusterName=kiln
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$work/munge.socket
CredType=cred/munge
SlurmctldPort=$((20000 + $$ % 10000))
SlurmdPort=$((30000 + $$ % 10000))
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=5
NodeName=$node NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE
CONF
export SLURM_CONF=$work/slurm.conf
srun --mpi=list 2>&1 | grep -q pmix || skip "this Slurm has no PMIx: $(srun --mpi=list 2>&1 | tail -n 1)"
sleep 1
slurmctld -D -f "$SLURM_CONF" >/dev/null 2>&1 &
daemons+=($!)
slurmd -D -f "$SLURM_CONF" >/dev/null 2>&1 &
daemons+=($!)
for _ in $(seq 100); do
  sinfo -h -o %T 2>/dev/null | grep -q idle && break
  sleep 0.3
done
sinfo -h -o %T 2>/dev/null | grep -q idle ||
  skip "no node comes up: $(tail -n 2 "$work/slurmd.log" "$work/slurmctld.log" | tr '\n' ' ')"

state_of() { scontrol show job "$1" 2>/dev/null | sed -n 's/.*JobState=\([A-Z_]*\).*/\1/p'; }
exit_of() { scontrol show job "$1" | sed -n 's/.*ExitCode=\([0-9]*\):.*/\1/p'; }
wait_for_state() {  # job, state, seconds
  local end=$((SECONDS + $3))
  until [[ $(state_of "$1") == "$2" ]]; do
    [[ $SECONDS -lt $end ]] || { cat "$work"/*.log | tail -n 40; fail "job $1 is $(state_of "$1"), not $2"; }
    sleep 0.5
  done
}
submit() {  # run folder, an override of the recipe, then sbatch's options
  local run=$1 override=$2
  shift 2
  KILN=$kiln sbatch --parsable --nodes=1 --ntasks=2 --ntasks-per-node=2 --cpus-per-task=1 \
    --gpus-per-node=0 --chdir="$work" --output="$run.log" "$@" \
    "$source_folder/launch/slurm.sbatch" "$recipe" run.dir="$run" "$override" --json
}
echo "== time limit: saved, requeued, finished"
job=$(submit "$work/run" run.seed=0 --time=2 --signal=USR1@60 --requeue) || fail "sbatch"
wait_for_step "$work/run" 20 90
scancel --signal=USR1 "$job"  # what the limit sends, at an instant of our own
for _ in $(seq 120); do
  [[ $(state_of "$job") == PENDING ]] && break
  sleep 0.5
done
grep -q "stopped and saved" "$work/run.log" || { cat "$work/run.log"; fail "it did not save"; }
scontrol show job "$job" | grep -q "Restarts=1" || fail "it was not requeued"
saved=$(last_step "$work/run")
# Slurm itself waits two minutes here. Sooner than it takes to clean up after the first start, or in
# the same second, the node takes the second start for the one that was revoked.
for _ in $(seq 60); do
  grep -q "\[$job.0\] done with job" "$work/slurmd.log" && break
  sleep 0.5
done
sleep 2
scontrol update jobid="$job" starttime=now timelimit=20
wait_for_state "$job" COMPLETED 240
[[ $(exit_of "$job") == 0 ]] || fail "exit code $(exit_of "$job")"
grep -q "going on from" "$work/run.log" || fail "it began anew"
[[ $(hash_in "$work/run.log") == "$expected" ]] || fail "it ended in other bits"
echo "saved after step $saved, requeued, finished in the same bits"

echo "== exit codes"
job=$(submit "$work/bad" train.micro_batch=7 --time=2) || fail "sbatch"
wait_for_state "$job" FAILED 60
[[ $(exit_of "$job") == 2 ]] || fail "a bad recipe gives $(exit_of "$job"), not 2"
echo "a bad recipe: 2"

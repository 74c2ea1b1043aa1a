#!/usr/bin/env bash
# A SLURM of one node on this machine, and the recipe of docs/scaling.md on it: see slurm_trial.py.
#
# For a Debian machine where you are root and no SLURM runs:
#     apt-get install slurm-wlm munge
#     pip install dask-jobqueue
#     scripts/slurm_trial.sh FOLDER [options of slurm_trial.py]
# All files are in FOLDER, which must not exist. The daemons are stopped at the end. PYTHON names the
# interpreter, python3 by default.
set -euo pipefail

if [[ $# -lt 1 || $(id -u) -ne 0 ]]; then
    echo "usage, as root: $0 FOLDER [options of slurm_trial.py]" >&2
    exit 2
fi
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
mkdir -- "$1"
folder=$(cd -- "$1" && pwd -P)
shift
node=$(hostname -s)
cores=$(nproc)
memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
export SLURM_CONF=$folder/slurm.conf
pids=()

stop() {
    for pid in "${pids[@]}"; do
        kill -- "$pid" 2>/dev/null || true
    done
    wait
}
trap stop EXIT

# munge proves to SLURM who calls; its key and socket are this trial's own
chmod 755 -- "$folder"
install -d -o munge -g munge -m 755 -- "$folder/munge"
head -c 1024 /dev/urandom >"$folder/munge/key"
chown munge:munge -- "$folder/munge/key"
chmod 400 -- "$folder/munge/key"
setpriv --reuid=munge --regid=munge --clear-groups munged --foreground --force \
    --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
    --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" &
pids+=($!)

mkdir -- "$folder/state" "$folder/spool"
cat >"$SLURM_CONF" <<END
ClusterName=trial
SlurmctldHost=$node
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
SlurmctldPort=26817
SlurmdPort=26818
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName=$node NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=cpu Nodes=$node Default=YES MaxTime=INFINITE State=UP
END

for _ in $(seq 50); do
    [[ -S $folder/munge/socket ]] && break
    sleep 0.1
done
slurmctld -D -c &
pids+=($!)
slurmd -D &
pids+=($!)
for _ in $(seq 100); do
    [[ $(sinfo -h -o %T 2>/dev/null) == idle ]] && break
    sleep 0.3
done
sinfo -N -o "%N %T %c cores %m MB"
[[ $(sinfo -h -o %T) == idle ]]

"${PYTHON:-python3}" "$here/slurm_trial.py" --folder "$folder" "$@"

#!/usr/bin/env bash
# Two hosts, each a network namespace with an sshd of its own, joined by a veth pair. Under
# `kiln launch` a job on both survives the link being cut and a host being removed: it goes on with
# the other host and ends in the bits of the undisturbed run.
#
#   tests/cluster/two_hosts.sh build/bin/kiln
#
# Exit status 77: skipped, with the reason.
set -uo pipefail
kiln=$(readlink -f "$1")
steps=400
tag=kiln$$
hosts=("$tag-a" "$tag-b")
work=

clean_up() {
  for host in "${hosts[@]}"; do
    ip netns pids "$host" 2>/dev/null | xargs -r kill -9 2>/dev/null
    ip netns del "$host" 2>/dev/null
  done
  [[ -n $work ]] && rm -rf "$work"
}
trap clean_up EXIT

[[ $EUID -eq 0 ]] || { echo "skipped: network namespaces need root"; exit 77; }
for program in ip ssh ssh-keygen; do
  command -v $program >/dev/null || { echo "skipped: there is no $program"; exit 77; }
done
[[ -x /usr/sbin/sshd ]] || { echo "skipped: there is no sshd (openssh-server)"; exit 77; }
ip netns add "${hosts[0]}" 2>/dev/null && ip netns add "${hosts[1]}" 2>/dev/null ||
  { echo "skipped: network namespaces may not be made here"; exit 77; }

source "$(dirname "$0")/small_run.sh"

# ---- the hosts
ip link add veth-a netns "${hosts[0]}" type veth peer name veth-b netns "${hosts[1]}" ||
  skip "no veth pair"
addresses=(10.77.0.1 10.77.0.2)
for i in 0 1; do
  name=$([[ $i -eq 0 ]] && echo veth-a || echo veth-b)
  ip -n "${hosts[$i]}" addr add "${addresses[$i]}/24" dev "$name"
  ip -n "${hosts[$i]}" link set lo up
  ip -n "${hosts[$i]}" link set "$name" up
done
ssh-keygen -q -t ed25519 -N '' -f "$work/key"
ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
mkdir -p /run/sshd
cat >"$work/sshd_config" <<SSHD
Port 22
HostKey $work/host_key
AuthorizedKeysFile $work/key.pub
PasswordAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
AcceptEnv *
SSHD
cat >"$work/ssh_config" <<SSH
Host *
  IdentityFile $work/key
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  ConnectTimeout 5
SSH
start_host() {
  ip netns exec "${hosts[$1]}" unshare --uts sh -c \
    "hostname ${hosts[$1]}; exec /usr/sbin/sshd -D -f $work/sshd_config" >/dev/null 2>&1 &
}
start_host 0
start_host 1
in_a() { ip netns exec "${hosts[0]}" unshare --uts sh -c "hostname ${hosts[0]}; exec \"\$@\"" sh "$@"; }
for address in "${addresses[@]}"; do
  for _ in $(seq 50); do
    in_a ssh -F "$work/ssh_config" "$address" true 2>/dev/null && continue 2
    sleep 0.1
  done
  skip "sshd does not answer on $address"
done

export OMPI_MCA_plm_rsh_agent="ssh -F $work/ssh_config"
export OMPI_MCA_oob_tcp_if_include=10.77.0.0/24 OMPI_MCA_btl_tcp_if_include=10.77.0.0/24
export OMPI_MCA_btl=self,tcp

start_job() {  # run folder
  in_a "$kiln" launch --hosts "${addresses[0]}:2,${addresses[1]}:2" --backoff 0.2 -- \
    train "$recipe" run.dir="$1" --json >"$1.out" 2>"$1.err" &
  job=$!
}
finish_job() {  # run folder
  wait "$job"
  local status=$?
  [[ $status -eq 0 ]] || { cat "$1.err"; fail "$1 ended with $status"; }
  [[ $(hash_in "$1.out") == "$expected" ]] || fail "$1 ended in other bits"
  grep -q "host ${addresses[1]} no longer answers" "$1.err" || fail "the lost host is not named"
  cat "$1/launch/log.txt"
}
ranks_left() { ip netns pids "${hosts[1]}" | xargs -r ps -o args= -p 2>/dev/null | grep -c "kiln train"; }

echo "== the link is cut"
start_job "$work/cut"
wait_for_step "$work/cut" 30 60
ip -n "${hosts[1]}" link set veth-b down
cut=$SECONDS
while [[ $(ranks_left) -gt 0 ]]; do
  [[ $((SECONDS - cut)) -lt 25 ]] || fail "ranks beyond the cut do not end by themselves"
  sleep 0.5
done
echo "ranks beyond the cut ended by themselves after $((SECONDS - cut)) s"
finish_job "$work/cut"
echo "done $((SECONDS - cut)) s after the cut"

ip -n "${hosts[1]}" link set veth-b up
for _ in $(seq 100); do
  in_a ssh -F "$work/ssh_config" "${addresses[1]}" true 2>/dev/null && break
  sleep 0.1
done

echo "== a host is removed"
start_job "$work/removed"
wait_for_step "$work/removed" 30 60
removed=$SECONDS
ip netns pids "${hosts[1]}" | xargs -r kill -9
finish_job "$work/removed"
echo "done $((SECONDS - removed)) s after the removal"

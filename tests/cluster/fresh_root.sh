#!/usr/bin/env bash
# A Debian of its own, from nothing: the two commands of README run in it as on a fresh machine.
#
#   tests/cluster/fresh_root.sh bookworm|trixie [COMMAND...]
#
# COMMAND: run there instead of `bash launch/demo.sh` and `bash tests/run.sh`, in the folder of the
# sources. KILN and KILN_... variables (KILN_CXX, KILN_JOBS, KILN_WERROR) go along.
# KILN_TORCH=/folder    a LibTorch of this machine is seen there too; else set-up downloads one
# KILN_FILES="a b"      files of this machine that are copied there, beside the sources
# KILN_ROOT=/folder     where the root goes, and stays; what is there already is used again
# KILN_MIRROR=URL       of Debian's packages; default: debootstrap's own
#
# Prints a line for each command: minutes, exit status, and its closing line. Exit status 77: skipped,
# with the reason.
set -uo pipefail
suite=${1:?bookworm or trixie}
shift
source_folder=$(cd "$(dirname "$0")/../.." && pwd)
skip() {
  echo "skipped: $*"
  exit 77
}
[[ $EUID -eq 0 ]] || skip "a root folder of one's own needs root"
command -v debootstrap >/dev/null || skip "there is no debootstrap"
unshare --mount --pid --fork true 2>/dev/null || skip "mount namespaces may not be made here"

root=${KILN_ROOT:-}
if [[ -z $root ]]; then
  root=$(mktemp -d "${TMPDIR:-/tmp}/kiln_root_XXXXXX")
  trap 'rm -rf --one-file-system "$root"' EXIT
fi
if [[ ! -e $root/etc/debian_version ]]; then
  debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" ${KILN_MIRROR:+"$KILN_MIRROR"} >"$root.log" 2>&1 ||
    skip "no root of $suite can be made: $(tail -n 1 "$root.log")"
  rm "$root.log"
fi

# What a machine has and a bare root does not: names of hosts, and certificates of this network.
cp /etc/resolv.conf /etc/hosts "$root/etc/"
mkdir -p "$root/usr/local/share/ca-certificates" "$root/kiln" "$root/shared" "$root/opt/python"
cp /usr/local/share/ca-certificates/* "$root/usr/local/share/ca-certificates/" 2>/dev/null
git -C "$source_folder" ls-files -z | tar -C "$source_folder" --null -T - -cf - | tar -C "$root/kiln" -xf -
[[ -z ${KILN_FILES:-} ]] || cp -r $KILN_FILES "$root/kiln/"

inside() {
  local settings=() name
  for name in $(compgen -e KILN); do
    [[ $name =~ ^KILN_(ROOT|MIRROR|TORCH|FILES)$ ]] || settings+=("$name=${!name}")
  done
  [[ -z ${KILN_TORCH:-} ]] || settings+=("KILN_TORCH=/opt/python/$(basename "$KILN_TORCH")")
  unshare --mount --pid --fork --kill-child --propagation private bash -c '
    root=$1 shared=$2 python=$3
    shift 3
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/run"
    [[ -d $shared ]] && mount --bind -o ro "$shared" "$root/shared"  # reference numbers, where there are any
    [[ -n $python ]] && mount --bind -o ro "$python" "$root/opt/python"
    exec chroot "$root" "$@"' inside "$root" "$source_folder/../shared" \
    "${KILN_TORCH:+$(dirname "${KILN_TORCH:-}")}" \
    /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    TERM=dumb LANG=C.UTF-8 PIP_CERT=/etc/ssl/certs/ca-certificates.crt ${settings[@]+"${settings[@]}"} "$@"
}

failed=0
try() {
  local start=$SECONDS log=$root/kiln/fresh_root.log status
  echo "== $suite: $*"
  inside bash -c 'cd /kiln && exec "$@"' bash "$@" 2>&1 | tee "$log" | sed "s/^/$suite: /"
  status=${PIPESTATUS[0]}
  printf '%s: %s: status %d after %d min; %s\n' "$suite" "$*" "$status" $(((SECONDS - start + 30) / 60)) \
    "$(tail -n 1 "$log")" | tee -a "$root/kiln/results"
  [[ $status -eq 0 ]] || failed=1
}
inside update-ca-certificates >/dev/null 2>&1
: >"$root/kiln/results"
if [[ $# -gt 0 ]]; then
  try "$@"
else
  try bash launch/demo.sh
  try bash tests/run.sh
fi
echo "== results ($suite, $(cat "$root/etc/debian_version"))"
cat "$root/kiln/results"
exit $failed

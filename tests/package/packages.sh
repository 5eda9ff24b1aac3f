#!/usr/bin/env bash
# The packages of launch/package.sh in a fresh root without a compiler: what is missing is told, then
# the demo's steps pass, two ranks. Run by tests/cluster/fresh_root.sh, there:
#
#   tests/package/packages.sh kiln_VERSION_ARCH.deb | kiln-VERSION-ARCH.tar.gz
set -uo pipefail
package=$(readlink -f "$1")
fail() {
  echo "failed: $*"
  exit 1
}
quietly() { "$@" >/tmp/log 2>&1 || { tail -n 20 /tmp/log; fail "$*"; }; }
export DEBIAN_FRONTEND=noninteractive
torch=${KILN_TORCH:-}
unset KILN_TORCH

quietly apt-get update -qq
case $package in
  *.deb)
    quietly apt-get install -y -qq --no-install-recommends "$package"
    kiln=/usr/bin/kiln
    ;;
  *.tar.gz)
    mkdir /opt/elsewhere && tar -C /opt/elsewhere -xzf "$package"
    kiln=$(echo /opt/elsewhere/kiln-*/bin/kiln)
    ;;
esac
for compiler in cc c++ gcc g++ clang++ cmake; do
  ! command -v $compiler || fail "there is a compiler"
done
"$kiln" doctor >/tmp/doctor 2>&1
[[ $? -eq 2 ]] && grep -q "LibTorch .* is not found" /tmp/doctor || { cat /tmp/doctor; fail "doctor does not miss LibTorch"; }
cat /tmp/doctor

quietly apt-get install -y -qq --no-install-recommends python3 python3-venv  # LibTorch, and the demo's pictures
if [[ -n $torch ]]; then
  export KILN_TORCH=$torch
else
  quietly bash "$(dirname "$kiln")/../lib/kiln/install_torch.sh"
fi
KILN=$kiln bash launch/demo.sh || fail "the demo"
"$kiln" launch -np 2 -- doctor || fail "doctor on two ranks"

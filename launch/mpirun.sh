#!/usr/bin/env bash
# Pretrains on hosts reached over ssh, without a scheduler. Every host sees the same paths.
#
#   bash launch/mpirun.sh node1:8,node2:8 configs/mae_base_imagenet.toml data.path=/data/imagenet
#
# To stop and save, send SIGUSR1 to mpirun (SIGTERM gives its ranks two seconds only), or start
# through `kiln launch`, which does that on SIGTERM and Ctrl-C:
#
#   kiln launch -np 16 --hosts node1:8,node2:8 -- train RECIPE
set -euo pipefail
hosts=$1
shift
ranks=0
for host in ${hosts//,/ }; do ranks=$((ranks + ${host##*:})); done
exec mpirun -np "$ranks" --host "$hosts" --map-by slot --bind-to none -x NCCL_DEBUG \
  "${KILN:-build/bin/kiln}" train "$@"

#!/usr/bin/env bash
# What launch/Dockerfile and launch/kiln.def do in the image: installs /tmp/kiln_*.deb and LibTorch, and
# makes ranks reachable. Runs as root in a Debian or Ubuntu of its own.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends /tmp/kiln_*.deb python3 python3-venv ca-certificates \
  openssh-client openssh-server
bash /usr/lib/kiln/install_torch.sh
# The MPI Operator gives each worker keys in /home/kiln/.ssh (sshAuthMountPath) and starts there
# /usr/sbin/sshd -De -f /home/kiln/.sshd_config
useradd --create-home --uid 1000 --shell /bin/bash kiln
mkdir -p /run/sshd
printf 'PidFile /home/kiln/sshd.pid\nHostKey /home/kiln/.ssh/id_rsa\nStrictModes no\nPort 2222\n' >/home/kiln/.sshd_config
printf 'StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nPort 2222\n' >/etc/ssh/ssh_config.d/kiln.conf
apt-get clean
rm -rf /var/lib/apt/lists/* /tmp/kiln_*.deb

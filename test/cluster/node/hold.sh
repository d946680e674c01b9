#!/bin/bash
# First process of a test node: hold.sh FOLDER. Its namespaces of processes, mounts and network are the node: when it
# ends, the kernel ends everything in them, and mounts, addresses and rules are gone with them. bash, since it buries
# the orphans that containers leave.
set -eu
root=$1

mount --make-rshared / # of this namespace: kubelet and pods share mounts, the machine sees none of them
# What the node's programs keep at fixed places is theirs alone.
mount -t tmpfs -o mode=755 run /run
mount -t tmpfs -o mode=755 log /var/log
mkdir -p /run/netns /run/lock

# kubelet sets these for the whole machine, unless they are as it wants them: show it files that are.
while read -r name value; do
  echo "$value" >"$root/sysctl-$(basename "$name")"
  if [ -e "/proc/sys/$name" ]; then mount --bind "$root/sysctl-$(basename "$name")" "/proc/sys/$name"; fi
done <<END
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
END

# Loopback and one bridge, no way out: no packet leaves the node.
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
# A pod that answers another one on the same bridge must pass the rules that translated the Service's address.
if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables; fi
ip link add cni0 type bridge
ip link set cni0 address 0a:58:0a:f4:00:01 up
ip addr add 10.244.0.1/24 dev cni0
# Routing comes before translation: without a route nobody here could ask for an address of a Service.
ip route add 10.96.0.0/16 dev cni0 src 10.244.0.1

touch "$root/held"
while :; do sleep infinity & wait $! || true; done

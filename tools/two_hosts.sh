#!/usr/bin/env bash
# Two machines on one: trains in two network namespaces that see each other only through a virtual cable, as two
# hosts would, by torchrun. Linux, root and iproute2 are needed; nothing is left behind.
#
#     sudo tools/two_hosts.sh CONFIG --out DIR [section.key=value ...]
set -euo pipefail

python=${PYTHON:-$(cd "$(dirname "$0")/.." && pwd)/.venv/bin/python}
names=(detkit-host-a detkit-host-b)
addresses=(10.99.0.1 10.99.0.2)

clean_up() {
  for name in "${names[@]}"; do
    ip netns pids "$name" 2>/dev/null | xargs -r kill 2>/dev/null || true
    ip netns delete "$name" 2>/dev/null || true
  done
}
trap clean_up EXIT
clean_up

for name in "${names[@]}"; do
  ip netns add "$name"
  ip -n "$name" link set lo up
done
ip link add cable-a netns "${names[0]}" type veth peer name cable-b netns "${names[1]}"
for i in 0 1; do
  cable=$([ $i = 0 ] && echo cable-a || echo cable-b)
  ip -n "${names[$i]}" address add "${addresses[$i]}/24" dev "$cable"
  ip -n "${names[$i]}" link set "$cable" up
done

run_on() { # host number, then the command's arguments
  local host=$1 cable=$2
  shift 2
  ip netns exec "${names[$host]}" env GLOO_SOCKET_IFNAME="$cable" OMP_NUM_THREADS=1 \
    "$python" -m torch.distributed.run --nnodes=2 --nproc-per-node=1 --node-rank="$host" \
    --master-addr="${addresses[0]}" --master-port=29500 -m detkit train "$@"
}

run_on 1 cable-b "$@" &
second=$!
run_on 0 cable-a "$@"
wait $second

#!/usr/bin/env bash
# Measures the gateway, and saves the figures as JSON, Markdown and SVG.
#
#   scripts/bench.sh [--output DIR] [--rounds N] [--seconds S] [--flows N,N...] [--sessions N] [--rules N] [--full]
#                    [--only PART]... [--gateway CPU] [--generator CPU] [--patience S]
#
#   --output DIR     where the figures go (default: bench/ in cargo's target directory)
#   --rounds N       runs of each case; those of different cases take turns (default 5)
#   --seconds S      length of a run (default 2)
#   --flows N,N...   table sizes (default 64,65536,1000000)
#   --sessions N     how many are made, left to expire, flushed and kept over a reload (default 1000000)
#   --rules N        rules that are loaded anew (default 100000)
#   --full           16 million flows as well
#   --only PART      one of those below; may stand several times
#   --gateway CPU    the worker's CPU (default 1)
#   --generator CPU  the generator's CPU, which the gateway's management shares where there are not four (default 0)
#   --patience S     seconds in all for waiting until the two CPUs are near one another, and for measuring again when they
#                    were not (default 150)
#
# What is measured:
#   engine         translation in memory, without a NIC: benches/engine
#   memif          nat-trafficgen on one CPU, nat-gateway on another, a shared-memory port on each side; in the same rounds
#                  plain forwarding by the gateway's own driver layer (io), which is the generator's ceiling, and the
#                  gateway with a rule that exempts all traffic
#   pcap           the worker alone: net_pcap replays outbound packets inside the gateway's process, and drops what leaves;
#                  two workers have a CPU each, and every other packet belongs to the other worker
#   sessions       each flow once: as fast as the port takes them, and paced
#   latency        at half the lowest rate that the gateway carried with 65536 flows; and of plain forwarding at that rate
#   expiry         the same load beside sessions that all expire within about a second
#   reload         the same rate over all sessions, while the configuration with all its rules is read again and again
#   sweep          half of what the gateway carried with all sessions, while it looks through them because the filtering is
#                  another, an address goes, or a forward comes over a port in use; only where it is asked for
#   listing        200,000 packets a second over all sessions, while all of them are listed by the API again and again; only
#                  where it is asked for
#   rfc9693        connections established and torn down a second, and how many are kept
#   workers        one and two workers, packets on their owner's queue and on the other's, where there are three CPUs
#   bench-workers  one and two workers that have a CPU each, without a wire: benches/workers
#   kernel         nftables' masquerading NAT between veth pairs, from and to the same generator (net_af_packet)
#
# Packets that the gateway had to drop are named with their reasons where a part tells them: transmit-full is a generator
# that had lost its CPU. Runs as root: it needs huge pages, which it gives back, and network namespaces. Let nothing else
# run meanwhile.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/bench/gateway.sh
source scripts/bench/gateway.sh
# shellcheck source=scripts/bench/parts.sh
source scripts/bench/parts.sh

output='' rounds=5 seconds=2 flows=64,65536,1000000 full=false only=() gateway_cpu=1 generator_cpu=0
sessions_in_all=1000000 rules=100000 patience=150
while (($#)); do
    case $1 in
    --output) output=$2 ;;
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --flows) flows=$2 ;;
    --sessions) sessions_in_all=$2 ;;
    --rules) rules=$2 ;;
    --only) only+=("$2") ;;
    --gateway) gateway_cpu=$2 ;;
    --generator) generator_cpu=$2 ;;
    --patience) patience=$2 ;;
    --full)
        full=true
        shift
        continue
        ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
    esac
    shift 2 || usage 2 >&2
done
if $full; then flows+=,16000000; fi
IFS=, read -ra flows <<<"$flows"
((EUID == 0)) || die "needs root for huge pages and network namespaces"

wants() { ((${#only[@]} == 0)) || [[ " ${only[*]} " == *" $1 "* ]]; }

scripts/setup.sh
say "building"
cargo build --quiet --release --workspace --bins --example figures
target=$(cargo metadata --no-deps --format-version 1 | jq -r .target_directory)
: "${output:=$target/bench}"
mkdir -p "$output"
gateway=$target/release/nat-gateway
generator=$target/release/nat-trafficgen
natctl=$target/release/natctl
work=$(mktemp -d)
before=0 after=0 tsc_hz=0 seen_near=false process=''
samples=$work/samples
trials=$work/trials
touch "$samples" "$trials"

hugepages=/proc/sys/vm/nr_hugepages
hugepages_before=$(<$hugepages)
cleanup() {
    stop
    ip netns delete bench-nat 2>/dev/null || true
    ip netns delete bench-gen 2>/dev/null || true
    echo "$hugepages_before" >$hugepages
    rm -rf "$work"
}
trap cleanup EXIT

# For the packet buffers of both programs and the gateway's tables.
pages=$((1280 + (flows[-1] > sessions_in_all ? flows[-1] : sessions_in_all) / 5000))
((hugepages_before >= pages)) || echo $pages >$hugepages || say "no huge pages: figures will be lower"

defaults
devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
inside_namespace=()
load=(load --runs 1 --seconds "$seconds")

machine() {
    jq -n --arg cpu "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" \
        --arg cpus "$(nproc)" --arg kernel "$(uname -r)" --arg rust "$(rustc --version)" \
        --arg hypervisor "$(systemd-detect-virt 2>/dev/null || true)" --arg commit "$(git describe --always --dirty)" \
        --arg dpdk "$(pkg-config --modversion libdpdk)" --arg date "$(date --utc +%F)" --arg load "$load_before" \
        '{cpu: $cpu, cpus: ($cpus | tonumber), hypervisor: $hypervisor, kernel: $kernel, dpdk: $dpdk, rust: $rust,
        commit: $commit, date: $date, load: $load}'
}

load_before=$(cut -d ' ' -f 1-3 /proc/loadavg)
parts=()
for part in memif pcap sessions latency expiry reload rfc9693 workers; do
    ! wants "$part" || parts+=("$part")
done
for part in sweep listing; do
    if [[ " ${only[*]} " == *" $part "* ]]; then parts+=("$part"); fi
done
for ((round = 1; round <= rounds && ${#parts[@]} > 0; round++)); do
    say "round $round of $rounds"
    for part in "${parts[@]}"; do
        # Whether packets are lost needs no median.
        if ((round <= 3)) || [[ $part != expiry && $part != reload && $part != sweep && $part != listing ]]; then "round_of_$part"; fi
    done
done
if wants kernel; then
    set_up_kernel
    for ((round = 1; round <= rounds; round++)); do round_of_kernel; done
fi
for bench in engine workers; do echo null >"$work/$bench.json"; done
if wants engine; then
    say "engine alone"
    cargo bench --quiet --package natgw-nat --bench engine -- --flows "$(IFS=,; echo "${flows[*]}")" --rounds "$rounds" --json "$work/engine.json"
fi
if wants bench-workers; then
    say "workers without a wire"
    cargo bench --quiet --package nat-gateway --bench workers -- --json "$work/workers.json" || say "needs two CPUs"
fi
jq -n --slurpfile machine <(machine) --slurpfile samples "$samples" --slurpfile trials "$trials" \
    --slurpfile engine "$work/engine.json" --slurpfile workers "$work/workers.json" '{machine: $machine[0],
    engine: $engine[0], workers: ($workers[0].workers // []), samples: $samples, rfc9693: $trials}' >"$output/results.json"
"$target/release/examples/figures" "$output/results.json" "$output"
cat "$output/results.md"
say "saved in $output, after $((SECONDS / 60)) min $((SECONDS % 60)) s"

#!/usr/bin/env bash
# Measures the gateway, and saves the figures as JSON, Markdown and SVG.
#
#   scripts/bench.sh [--output DIR] [--rounds N] [--seconds S] [--flows N,N...] [--full] [--only PART]...
#                    [--gateway CPU] [--generator CPU]
#
#   --output DIR     where the figures go (default: bench/ in cargo's target directory)
#   --rounds N       runs of each case; those of different cases take turns (default 5)
#   --seconds S      length of a run (default 2)
#   --flows N,N...   table sizes (default 64,65536,1000000)
#   --full           16 million flows as well
#   --only PART      engine, memif, pcap, sessions, latency, workers or kernel; may stand several times
#   --gateway CPU    the worker's CPU (default 1)
#   --generator CPU  the generator's CPU, which the gateway's management shares (default 0)
#
# What is measured:
#   engine    translation in memory, without a NIC: benches/engine
#   memif     nat-trafficgen on one CPU, nat-gateway on another, a shared-memory port on each side; in the same rounds
#             plain forwarding by the gateway's own driver layer (io), which is the generator's ceiling, and the gateway
#             with a rule that exempts all traffic
#   pcap      the worker alone: net_pcap replays outbound packets inside the gateway's process, and drops what leaves; two
#             workers have a CPU each, and every other packet belongs to the other worker
#   sessions  each flow once: as fast as the port takes them, and paced
#   latency   at half the rate that the gateway carried with 65536 flows
#   workers   one and two workers, packets on their owner's queue and on the other's
#   kernel    nftables' masquerading NAT between veth pairs, from and to the same generator (net_af_packet)
#
# Runs as root: it needs huge pages, which it gives back, and network namespaces. Let nothing else run meanwhile.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

output='' rounds=5 seconds=2 flows=64,65536,1000000 full=false only=() gateway_cpu=1 generator_cpu=0
while (($#)); do
    case $1 in
    --output) output=$2 ;;
    --rounds) rounds=$2 ;;
    --seconds) seconds=$2 ;;
    --flows) flows=$2 ;;
    --only) only+=("$2") ;;
    --gateway) gateway_cpu=$2 ;;
    --generator) generator_cpu=$2 ;;
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
cargo build --quiet --release --bin nat-gateway --bin nat-trafficgen --example figures
target=$(cargo metadata --no-deps --format-version 1 | jq -r .target_directory)
: "${output:=$target/bench}"
mkdir -p "$output"
gateway=$target/release/nat-gateway
generator=$target/release/nat-trafficgen
work=$(mktemp -d)
before=0 apart=0 tsc_hz=0 seen_near=false
samples=$work/samples
: >"$samples"
process=''

# Ends what serves as the device under test.
stop() {
    [[ -n $process ]] || return 0
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
    process=''
}

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
pages=$((1024 + flows[-1] / 5000))
((hugepages_before >= pages)) || echo $pages >$hugepages || say "no huge pages: figures will be lower"

memif() { echo "net_memif$2,role=$1,socket=$work/memif.sock,socket-abstract=no,id=$2"; }

# A configuration for so many sessions: FLOWS WORKER_CPUS RULE
configure() {
    local addresses=$(($1 / 30000 + 4))
    cat >"$work/gateway.toml" <<END
[dpdk]
main_lcore = $generator_cpu
worker_lcores = [$2]
idle = "$idle"
[[interfaces]]
name = "inside"
device = "${gateway_devices[0]}"
role = "inside"
addresses = ["172.16.0.1/30"]
rx_queue_size = $queue_size
tx_queue_size = $queue_size
[[interfaces]]
name = "outside"
device = "${gateway_devices[1]}"
role = "outside"
addresses = ["172.16.1.1/30"]
rx_queue_size = $queue_size
tx_queue_size = $queue_size
[[routes]]
prefix = "10.0.0.0/8"
via = "172.16.0.2"
[[routes]]
prefix = "0.0.0.0/0"
via = "172.16.1.2"
[[nat.pools]]
name = "main"
addresses = ["100.64.0.0-100.64.$((addresses / 256)).$((addresses % 256))"]
[[nat.rules]]
source = "10.0.0.0/8"
$3
[nat.limits]
sessions = $(($1 + $1 / 4 + 1024))
new_sessions_per_subscriber_per_s = 10_000_000
[management]
listen = "127.0.0.1:19464"
socket = "$work/control.sock"
END
}

# Starts a gateway and waits until it polls: FLOWS WORKER_CPUS RULE
start_gateway() {
    cores_apart before
    configure "$@"
    rm -f "$work/memif.sock" "$work/gateway.log"
    "$gateway" --config "$work/gateway.toml" 2>"$work/gateway.log" &
    process=$!
    await_log 'gateway started'
}

start_io() {
    cores_apart before
    rm -f "$work/memif.sock"
    "$generator" --lcore "$gateway_cpu" io --a "$(memif server 0)" --b "$(memif server 1)" >"$work/gateway.log" 2>&1 &
    process=$!
    for _ in {1..100}; do
        [[ ! -S $work/memif.sock ]] || break
        sleep 0.1
    done
}

await_log() {
    for _ in {1..600}; do
        ! grep -qs "$1" "$work/gateway.log" || return 0
        kill -0 "$process" 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/gateway.log" >&2
    die "the gateway does not start"
}

# Nanoseconds between CPUs behind one cache at most.
NEAR=400

# Sets before, or after, and tsc_hz.
cores_apart() {
    local found
    found=$("$generator" --lcore "$generator_cpu" cores --peer "$gateway_cpu")
    read -r "$1" tsc_hz <<<"$found"
    ((${found% *} > NEAR)) || seen_near=true
}

# Runs a function of one measurement, and again, up to three times, while the CPUs were far apart although they can be
# near: the host has moved one of them, and may move it back. All runs are kept.
near() {
    for _ in 1 2 3; do
        cores_apart before
        for _ in {1..15}; do
            if ! $seen_near || ((before <= NEAR)); then break; fi
            sleep 1
            cores_apart before
        done
        "$@"
        if ! $seen_near || ((apart <= NEAR)); then return 0; fi
    done
}

# One run of what was started, its figures with what they are of: CASE WHAT FLOWS WORKERS COMMAND [ARGUMENTS...]
measure() {
    local case=$1 what=$2 count=$3 workers=$4 after status=0
    shift 4
    rm -f "$work/run.json"
    "${inside_namespace[@]}" "$generator" --lcore "$generator_cpu" --queues "$workers" "$@" --flows "$count" \
        "${devices[@]}" --json "$work/run.json" >"$work/run.log" 2>&1 || status=$?
    stop
    if ((status)) || [[ ! -s $work/run.json ]]; then
        say "$case, $what, $count flows: $(tail -n 1 "$work/run.log")"
        return 0
    fi
    cores_apart after
    apart=$((before > after ? before : after))
    jq -c --arg case "$case" --arg what "$what" --argjson round "$round" --argjson workers "$workers" \
        --argjson cores_ns "$apart" '{case: $case, what: $what, round: $round, workers: $workers,
        cores_ns: $cores_ns, flows, protocol, size, tsc_hz} + (.runs[] | select(.step == ""))' \
        "$work/run.json" | tee -a "$samples" | jq -r '"\(.case), \(.what), \(.flows) flows, \(.workers) worker(s): " +
        "\(.received_mpps * 1000 | round / 1000) Mpps, \(.lost) lost, \(.wrong) wrong, cores \(.cores_ns) ns apart"' >&2
}

inside_namespace=()
gateway_devices=("$(memif server 0)" "$(memif server 1)")
queue_size=1024
idle=poll
devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
translate='pool = "main"'
exempt='action = "exempt"'
load=(load --runs 1 --seconds "$seconds")

run_io() {
    start_io
    measure memif io 64 1 "${load[@]}" --expect untouched
}

run_nat() {
    start_gateway "$1" "$gateway_cpu" "$translate"
    measure memif nat "$1" 1 "${load[@]}"
}

run_exempt() {
    start_gateway 64 "$gateway_cpu" "$exempt"
    measure memif exempt 64 1 "${load[@]}" --expect routed
}

run_sessions() {
    start_gateway 1000000 "$gateway_cpu" "$translate"
    measure sessions "$1" 1000000 1 sessions --rate "$1"
}

run_latency() {
    near run_latency "$half"
}

round_of_memif() {
    local count
    near run_io
    for count in "${flows[@]}"; do near run_nat "$count"; done
    near run_exempt
}

round_of_sessions() {
    local rate
    for rate in open 1e6 2.5e6; do near run_sessions "$rate"; done
}

round_of_pcap() {
    local count devices
    for count in 64 65536; do
        "$generator" pcap --flows "$count" "$work/in.pcap" "$work/out.pcap"
        devices=("net_pcap0,rx_pcap=$work/in.pcap" "net_pcap1,rx_pcap=$work/out.pcap")
        replay "$count" 1 "$gateway_cpu" "${devices[0]},infinite_rx=1" "${devices[1]}"
        devices=("${devices[0]},rx_pcap=$work/in.pcap" "${devices[1]},rx_pcap=$work/out.pcap")
        replay "$count" 2 "$generator_cpu,$gateway_cpu" "${devices[0]},infinite_rx=1" "${devices[1]}"
    done
}

# FLOWS WORKERS WORKER_CPUS INSIDE OUTSIDE
replay() {
    local gateway_devices=("$4" "$5") queue_size=32768 first last
    start_gateway "$1" "$3" "$translate"
    sleep 1
    first=$(transmitted)
    sleep "$seconds"
    last=$(transmitted)
    stop
    jq -cn --argjson flows "$1" --argjson workers "$2" --argjson first "$first" --argjson last "$last" \
        --argjson cores_ns "$before" --argjson tsc_hz "$tsc_hz" --argjson round "$round" '{case: "pcap", what: "nat",
        round: $round, workers: $workers, cores_ns: $cores_ns, flows: $flows, tsc_hz: $tsc_hz, sent: 0, lost: 0, wrong: 0,
        latency: null, received_mpps: (($last[1] - $first[1]) / ($last[0] - $first[0]) / 1e6)}' | tee -a "$samples" |
        jq -r '"\(.case), \(.flows) flows, \(.workers) worker(s): \(.received_mpps * 1000 | round / 1000) Mpps"' >&2
}

# [seconds, packets that left by the outside port].
transmitted() {
    curl --silent --fail http://127.0.0.1:19464/metrics | awk -v now="$(date +%s.%N)" '
        /^natgw_packets_total\{interface="outside",direction="tx"/ { packets += $2 }
        END { printf "[%s, %d]", now, packets }'
}

# Half of the median that the rounds before have found.
round_of_latency() {
    local half
    half=$(jq -s '[.[] | select(.case == "memif" and .what == "nat" and .flows == 65536) | .received_mpps] | sort |
        if length > 0 then .[length / 2 | floor] * 500000 | floor else 3000000 end' "$samples")
    near run_latency "$half"
}

# With two CPUs the generator has to share one with a worker: then only the two ways of two workers compare.
round_of_workers() {
    local cpus=$generator_cpu,$gateway_cpu spread
    (($(nproc) < 3)) || cpus=$gateway_cpu,$(((gateway_cpu + 1) % $(nproc)))
    start_gateway 65536 "$gateway_cpu" "$translate"
    measure workers one 65536 1 "${load[@]}"
    (($(nproc) >= 3)) || idle=backoff
    for spread in owner crossed; do
        start_gateway 65536 "$cpus" "$translate"
        measure workers "$spread" 65536 2 "${load[@]}" --spread "$spread"
    done
    idle=poll
}

# The kernel as the gateway, on the worker's CPU: veth pairs hand their packets to it by RPS.
set_up_kernel() {
    local mask side index=0
    mask=$(printf '%x' $((1 << gateway_cpu)))
    ip netns add bench-nat
    ip netns add bench-gen
    for side in in out; do
        ip -n bench-nat link add "nat-$side" type veth peer name "gen-$side" netns bench-gen
        ip netns exec bench-nat sysctl -qw "net.ipv6.conf.nat-$side.disable_ipv6=1"
        ip netns exec bench-gen sysctl -qw "net.ipv6.conf.gen-$side.disable_ipv6=1"
        ip -n bench-nat address add "172.16.$index.1/30" dev "nat-$side"
        ip -n bench-nat link set "nat-$side" up
        ip -n bench-gen link set "gen-$side" up
        ip netns exec bench-nat sh -c "echo $mask >/sys/class/net/nat-$side/queues/rx-0/rps_cpus"
        index=$((index + 1))
    done
    ip -n bench-nat route add 10.0.0.0/8 via 172.16.0.2
    ip -n bench-nat route add default via 172.16.1.2
    ip netns exec bench-nat sysctl -qw net.ipv4.ip_forward=1
    ip netns exec bench-nat nft -f - <<END
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 10.0.0.0/8 oifname "nat-out" snat to 100.64.0.1-100.64.0.16
    }
}
END
}

round_of_kernel() {
    local count
    for count in 64 65536; do
        cores_apart before
        measure kernel nftables "$count" 1 "${load[@]}" --warmup-rate 50000
    done
}

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
for part in memif pcap sessions latency workers; do
    ! wants "$part" || parts+=("$part")
done
for ((round = 1; round <= rounds && ${#parts[@]} > 0; round++)); do
    say "round $round of $rounds"
    for part in "${parts[@]}"; do "round_of_$part"; done
done
if wants kernel; then
    set_up_kernel
    inside_namespace=(ip netns exec bench-gen)
    devices=(--inside "net_af_packet0,iface=gen-in" --outside "net_af_packet1,iface=gen-out")
    for ((round = 1; round <= rounds; round++)); do round_of_kernel; done
fi
echo null >"$work/engine.json"
if wants engine; then
    say "engine alone"
    cargo bench --quiet --bench engine -- --flows "$(IFS=,; echo "${flows[*]}")" --rounds "$rounds" --json "$work/engine.json"
fi
jq -n --slurpfile machine <(machine) --slurpfile samples "$samples" --slurpfile engine "$work/engine.json" \
    '{machine: $machine[0], engine: $engine[0], samples: $samples}' >"$output/results.json"
"$target/release/examples/figures" "$output/results.json" "$output"
cat "$output/results.md"
say "saved in $output"

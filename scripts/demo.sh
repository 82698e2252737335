#!/usr/bin/env bash
# Real clients reach real servers through the gateway, on this machine alone: network namespaces and two net_tap ports.
#
#   scripts/demo.sh [--workers N] [--seconds N] [--hold] [--bin-dir DIR]
#
#   --workers N    packet workers (default 1)
#   --seconds N    length of each iperf3 run (default 5)
#   --hold         keep it all running after the steps, until Ctrl-C
#   --bin-dir DIR  take nat-gateway and natctl from DIR instead of building them
#
#   inside1 10.64.0.11 ─┐                                             ┌─ server 198.51.100.10
#                       ├─ 10.64.0.1 gateway 203.0.113.2 ── router ───┘  HTTP, DNS, iperf3
#   inside2 10.64.0.12 ─┘                       203.0.113.1
#
# Exits 0 when every step is ok. Everything that it starts or makes is gone afterwards, also after Ctrl-C.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

arguments=("$@")
workers=1 seconds=5 hold=false bin_dir=
while (($#)); do
    case $1 in
    --workers) workers=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    --hold) hold=true ;;
    --bin-dir) bin_dir=$(realpath "${2:?}") && shift ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
    esac
    shift
done
[[ $workers =~ ^[1-9][0-9]?$ && $seconds =~ ^[1-9][0-9]*$ ]] || usage 2 >&2

if [[ -z $bin_dir ]]; then
    scripts/setup.sh
    cargo build --release --workspace
    bin_dir=$(cargo metadata --format-version 1 --no-deps | jq -r .target_directory)/release
fi
if ((EUID != 0)); then
    command -v sudo >/dev/null || die "network namespaces need root: run $0 as root, or install sudo"
    exec sudo -- "$0" "${arguments[@]}" --bin-dir "$bin_dir"
fi
[[ -c /dev/net/tun ]] || die "/dev/net/tun is missing: modprobe tun, or give the container that device"

# ---- namespaces -----------------------------------------------------------------------------------------------

id=natgw-demo-$$
work=$(mktemp -d "/tmp/$id.XXXXXX")
namespaces=(gateway inside1 inside2 router server)
gateway_pid=

in_ns() {
    local namespace=$1
    shift
    ip netns exec "$id-$namespace" "$@"
}

# Starts a program in namespace $1 that writes to $2. The job is the program itself, no subshell around it.
spawn() {
    local namespace=$1 log=$2
    shift 2
    ip netns exec "$id-$namespace" "$@" >>"$log" 2>&1 &
}

# Makes a namespace without IPv6, so that nothing but what the steps send is counted.
add_namespace() {
    ip netns add "$id-$1"
    in_ns "$1" sysctl -q -w net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
    # Where the kernel has br_netfilter, bridged packets would go through its filters.
    in_ns "$1" sysctl -e -q -w net.bridge.bridge-nf-call-iptables=0
    ip -n "$id-$1" link set lo up
}

# Gives namespace $1 an interface $2 with address $3, plugged into $4 (a bridge) in namespace $5.
plug_in() {
    ip link add name "$2" netns "$id-$1" type veth peer name "to-$1" netns "$id-$5"
    ip -n "$id-$1" address add "$3" dev "$2"
    ip -n "$id-$1" link set "$2" up
    ip -n "$id-$5" link set "to-$1" master "$4" up
}

build_network() {
    local namespace bridge
    for namespace in "${namespaces[@]}"; do add_namespace "$namespace"; done
    for bridge in br-in br-out; do ip -n "$id-gateway" link add "$bridge" up type bridge; done
    plug_in inside1 eth0 10.64.0.11/24 br-in gateway
    plug_in inside2 eth0 10.64.0.12/24 br-in gateway
    plug_in router eth0 203.0.113.1/24 br-out gateway
    ip -n "$id-router" link add br-server up type bridge
    ip -n "$id-router" address add 198.51.100.1/24 dev br-server
    plug_in server eth0 198.51.100.10/24 br-server router
    in_ns router sysctl -q -w net.ipv4.ip_forward=1
    ip -n "$id-inside1" route add default via 10.64.0.1
    ip -n "$id-inside2" route add default via 10.64.0.1
    ip -n "$id-server" route add default via 198.51.100.1
}

# Puts the kernel's ends of the taps onto the bridges. They carry the ports' own MAC addresses, which a bridge would
# take for itself, so they get others first.
attach_taps() {
    local side number=1
    for side in in out; do
        ip -n "$id-gateway" link set "tap-$side" address "02:00:00:00:ff:0$((number++))" 2>/dev/null || return 1
        ip -n "$id-gateway" link set "tap-$side" master "br-$side" up
    done
}

# Sends signal $1 to everything in the namespaces; fails when there is nothing.
signal_all() {
    local pids
    pids=$(jobs -p; for namespace in "${namespaces[@]}"; do ip netns pids "$id-$namespace" 2>/dev/null || true; done)
    # shellcheck disable=SC2086 # one word a process
    [[ -n $pids ]] && kill "-$1" $pids 2>/dev/null
}

tear_down() {
    local namespace tries
    trap '' INT TERM HUP
    for ((tries = 0; tries < 100; tries++)); do
        signal_all "$( ((tries < 50)) && echo TERM || echo KILL)" || break
        sleep 0.1
    done
    wait
    for namespace in "${namespaces[@]}"; do ip netns delete "$id-$namespace" 2>/dev/null || true; done
    rm -rf "$work"
}
trap tear_down EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- the gateway and the servers ----------------------------------------------------------------------------------

# Polls a command for $1 seconds until it succeeds.
wait_for() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || return 1
        sleep 0.1
    done
}

natctl() { "$bin_dir/natctl" --socket "$work/control.sock" "$@"; }

gateway_is_ready() {
    kill -0 "$gateway_pid" || exit 1
    # Again once it is ready: starting a port gives the tap the port's own MAC address back.
    attach_taps && curl -fsS --unix-socket "$work/control.sock" http://gateway/readyz && attach_taps
}

# The demo's configuration with this run's socket and as many workers as asked for, spread over the CPUs there are.
write_config() {
    local cpus lcores=() i
    mapfile -t cpus < <(awk '/^Cpus_allowed_list/ { print $2 }' /proc/self/status | tr , '\n' |
        awk -F - '{ for (c = $1; c <= (NF > 1 ? $2 : $1); c++) print c }')
    for ((i = 1; i <= workers; i++)); do lcores+=("${cpus[i % ${#cpus[@]}]}"); done
    sed -e "s|^main_lcore.*|main_lcore = ${cpus[0]}|" \
        -e "s|^worker_lcores.*|worker_lcores = [$(IFS=,; echo "${lcores[*]}")]|" \
        -e "s|^socket.*|socket = \"$work/control.sock\"|" config/demo.toml >"$work/demo.toml"
}

start_gateway() {
    write_config
    spawn gateway "$work/gateway.log" "$bin_dir/nat-gateway" --config "$work/demo.toml"
    gateway_pid=$!
    (wait_for 30 gateway_is_ready) || {
        sed 's/^/    /' "$work/gateway.log"
        die "the gateway did not get ready"
    }
}

# Serves $work/www on port 80 of address $2 in namespace $1. Python's own HTTPServer would ask the DNS for its name.
serve_http() {
    spawn "$1" "$work/http.log" python3 -c '
import functools, http.server, socketserver, sys
address, directory = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=directory)
socketserver.ThreadingTCPServer((address, 80), handler).serve_forever()' "$2" "$work/www"
}

start_servers() {
    mkdir "$work/www"
    head -c 20000000 /dev/urandom >"$work/www/20MB"
    serve_http server 198.51.100.10
    serve_http inside2 10.64.0.12
    spawn server "$work/iperf3.log" iperf3 --server
    spawn server "$work/dns.log" dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root \
        --pid-file= --listen-address=198.51.100.10 --bind-interfaces --address=/www.example.test/198.51.100.10
    local port
    for port in 53 80 5201; do
        wait_for 10 in_ns server sh -c "ss -Hltn sport = :$port | grep -q ." || die "no server on port $port"
    done
    wait_for 10 in_ns inside2 sh -c "ss -Hltn sport = :80 | grep -q ." || die "no server in inside2"
}

# ---- the steps ----------------------------------------------------------------------------------------------------

failed=0
# Runs a function that prints its finding on one line and fails where it must.
report() {
    local title=$1 verdict=ok
    shift
    "$@" >"$work/finding" 2>"$work/step.log" || verdict=FAILED
    printf '  %-8s%-34s%s\n' "$verdict" "$title" "$(<"$work/finding")"
    if [[ $verdict == FAILED ]]; then
        failed=$((failed + 1))
        sed 's/^/            /' "$work/step.log"
    fi
}

# A step runs in the background: bash forgets a Ctrl-C when the program in front handles it and ends well, as dig does.
in_background() {
    "$@" &
    wait "$!"
}

step() {
    local title=$1
    shift
    report "$title" in_background "$@"
}

ping_server() {
    local out
    out=$(in_ns inside1 ping -q -c 5 -i 0.2 -W 2 -M "do" -s "$1" 198.51.100.10) || { echo "$out" >&2 && return 1; }
    awk -F '[/ ]' '/packet loss/ { lost = $4 != $1; printf "%s of %s answered", $4, $1 }
        /^rtt/ { printf ", %s ms\n", $8 } END { exit lost }' <<<"$out"
}

# $1 fetches $2, a URL of the 20 MB file.
download() {
    local rate sent received
    rate=$(in_ns "$1" curl -fsS --max-time 60 -o "$work/fetched" -w '%{speed_download}' "$2") || return 1
    sent=$(sha256sum <"$work/www/20MB") received=$(sha256sum <"$work/fetched")
    printf 'sha256 sent %.8s, received %.8s, %d MB/s\n' "$sent" "$received" $((${rate%.*} / 1000000))
    [[ $sent == "$received" ]]
}

resolve() {
    local answer
    answer=$(in_ns inside2 dig +short +tries=1 +time=2 @198.51.100.10 www.example.test)
    echo "www.example.test is ${answer:-unknown}"
    [[ $answer == 198.51.100.10 ]]
}

trace() {
    local hops
    hops=$(in_ns inside1 traceroute -n -q 1 -w 2 -m 5 198.51.100.10 | awk 'NR > 1 { print $2 }' | paste -sd ' ')
    echo "$hops"
    [[ $hops == "10.64.0.1 203.0.113.1 198.51.100.10" ]]
}

throughput() {
    in_ns inside1 iperf3 --client 198.51.100.10 --time "$seconds" --json "$@" >"$work/iperf3.json" ||
        { jq -r .error "$work/iperf3.json" >&2 && return 1; }
    jq -r '.end | "\(.sum_received.bits_per_second / 1e7 | round / 100) Gbit/s, " +
        "\(.sum_sent.retransmits) retransmitted"' "$work/iperf3.json"
}

translated_packets() {
    in_ns gateway curl -fsS http://127.0.0.1:9464/metrics |
        awk '/^natgw_translated_packets_total/ { sum += $NF } END { printf "%d packets translated\n", sum; exit !sum }'
}

stop_gateway() {
    local status=0 started=$EPOCHREALTIME
    kill -TERM "$gateway_pid"
    wait "$gateway_pid" || status=$?
    echo "exit code $status after $(((${EPOCHREALTIME/./} - ${started/./}) / 1000)) ms"
    ((status == 0))
}

echo "NAT gateway demo: $workers worker(s), two inside hosts, a router and a server"
build_network
start_gateway
start_servers
step "ping, 56 bytes" ping_server 56
step "ping, 1472 bytes, DF" ping_server 1472
step "HTTP download, 20 MB" download inside1 http://198.51.100.10/20MB
step "port forward, 20 MB from outside" download server http://203.0.113.13:8080/20MB
step "DNS" resolve
step "traceroute" trace
step "iperf3 TCP, inside to outside" throughput
step "iperf3 TCP, outside to inside" throughput --reverse
step "metrics" translated_packets
for command in status interfaces "sessions --limit 8" drops; do
    echo
    echo "natctl $command"
    # shellcheck disable=SC2086 # a command and its options
    natctl $command 2>&1 | sed 's/^/    /' || failed=$((failed + 1))
done
echo
if $hold; then
    echo "Running until Ctrl-C. For example:"
    echo "    ip netns exec $id-inside1 curl -O http://198.51.100.10/20MB"
    echo "    $bin_dir/natctl --socket $work/control.sock sessions"
    sleep infinity & wait $!
fi
report "SIGTERM" stop_gateway
((failed == 0)) || die "$failed step(s) failed"

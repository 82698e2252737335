# shellcheck shell=bash disable=SC2034
# What scripts/bench.sh measures: a gateway, or plain forwarding in its place, between two memif ports or on captures.
#
# The configuration is gateway/fixtures/memif.toml; what stands there between @ is the value of the variable of that
# name.

# Devices of a memif port: ROLE ID
memif() { echo "net_memif$2,role=$1,socket=$work/memif.sock,socket-abstract=no,id=$2,rsize=$ring_bits"; }

# A CPU for the gateway's management: one without a polling thread, where there is one.
spare_cpu() {
    local cpu
    for ((cpu = $(nproc) - 1; cpu >= 0; cpu--)); do
        ((cpu == gateway_cpu || cpu == generator_cpu || cpu == gateway_cpu + 1)) || break
    done
    echo $((cpu < 0 ? generator_cpu : cpu))
}

defaults() {
    main_cpu=$(spare_cpu) memory=auto idle=poll queue_size=1024 ring_bits=10 udp=300 port_hold=120
    listen=127.0.0.1:19464 socket=$work/control.sock
    translate='pool = "main"' exempt='action = "exempt"'
    inside='' outside=''
}

# FLOWS WORKER_CPUS RULE
configure() {
    local addresses=$(($1 / 30000 + 4)) worker_cpus=$2 action=$3 text name
    local last_external=100.64.$((addresses / 256)).$((addresses % 256)) sessions=$(($1 + $1 / 4 + 1024))
    local inside=${inside:-$(memif server 0)} outside=${outside:-$(memif server 1)}
    text=$(<gateway/fixtures/memif.toml)
    for name in main_cpu worker_cpus memory idle inside outside queue_size last_external action sessions udp port_hold \
        listen socket; do
        text=${text//@$name@/${!name}}
    done
    printf '%s\n' "$text" >"$work/gateway.toml"
}

# Starts a gateway and waits until it polls: FLOWS WORKER_CPUS RULE
start_gateway() {
    configure "$@"
    start_configured $((60 + $1 / 50000))
}

# The same with the configuration as it stands; its tables may take a while: SECONDS
start_configured() {
    cores_apart before
    rm -f "$work/memif.sock" "$work/gateway.log"
    "$gateway" --config "$work/gateway.toml" 2>"$work/gateway.log" &
    process=$!
    await "$1" "$work/gateway.log" 'gateway started' "$process" && return
    cat "$work/gateway.log" >&2
    die "the gateway does not start"
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

# Until a file says something, and its writer lives: SECONDS FILE WHAT PROCESS
await() {
    local until=$((SECONDS + $1))
    while ! grep -qs "$3" "$2"; do
        ((SECONDS < until)) && kill -0 "$4" 2>/dev/null || return 1
        sleep 0.1
    done
}

# Ends what serves as the device under test.
stop() {
    [[ -n $process ]] || return 0
    kill "$process" 2>/dev/null || true
    wait "$process" 2>/dev/null || true
    process=''
}

# The value of a series, all of its workers together: METRICS SERIES
metric() { awk -v series="$2" 'index($1, series) == 1 { sum += $2 } END { printf "%.0f", sum }' "$1"; }

scrape() { curl --silent --fail --retry 5 "http://$listen/metrics"; }

# What the gateway has dropped, by reason, as JSON.
drops() {
    scrape | sed -n 's/^natgw_dropped_packets_total{reason="\([^"]*\)".* \([0-9]*\)$/\1 \2/p' |
        jq -Rn '[inputs | split(" ") | {reason: .[0], count: (.[1] | tonumber)}] | group_by(.reason) |
            map({key: .[0].reason, value: (map(.count) | add)} | select(.value > 0)) | from_entries'
}

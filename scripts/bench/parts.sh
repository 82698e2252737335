# shellcheck shell=bash disable=SC2034
# The parts of scripts/bench.sh: a function round_of_PART each, which leaves lines of JSON in $samples or $trials.
# Locals that have the name of a value of the configuration are read by configure.

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
# near: the host has moved one of them, and may move it back. All runs are kept. What it takes goes from the patience that
# there is in all; when that is over, once is enough.
near() {
    local started
    for _ in 1 2 3; do
        started=$SECONDS
        cores_apart before
        for _ in {1..15}; do
            if ! $seen_near || ((before <= NEAR || SECONDS - started > patience)); then break; fi
            sleep 1
            cores_apart before
        done
        patience=$((patience - (SECONDS - started)))
        started=$SECONDS
        "$@"
        if ! $seen_near || ((before <= NEAR && after <= NEAR || patience <= 0)); then return 0; fi
        patience=$((patience - (SECONDS - started)))
    done
}

# Runs the generator on what was started: FLOWS WORKERS COMMAND [ARGUMENTS...]
generate() {
    local count=$1 workers=$2
    shift 2
    rm -f "$work/run.json"
    "${inside_namespace[@]}" "$generator" --lcore "$generator_cpu" --queues "$workers" "$@" --flows "$count" \
        "${devices[@]}" --json "$work/run.json" >"$work/run.log" 2>&1 && [[ -s $work/run.json ]] && return
    say "$1, $count flows: $(tail -n 1 "$work/run.log")"
    return 1
}

# The same beside what follows, once its load has begun, by a log that no other run has written; sets generating
begin() {
    rm -f "$work/run.log"
    generate "$@" &
    generating=$!
    await 60 "$work/run.log" '^load of' "$generating" || true
}

# What is said of every run; more facts may be added: CASE WHAT WORKERS [JSON]
facts() {
    jq -cn --arg case "$1" --arg what "$2" --argjson workers "$3" --argjson round "$round" --argjson more "${4:-{\}}" \
        --argjson before "$before" --argjson after "$after" --argjson tsc_hz "$tsc_hz" '{case: $case, what: $what,
        round: $round, workers: $workers, tsc_hz: $tsc_hz, cores_ns_before: $before, cores_ns_after: $after} + $more'
}

# Keeps the figures of the run: as facts
record() {
    stop
    cores_apart after
    jq -c --argjson facts "$(facts "$@")" '$facts + {flows, protocol, size} + (.runs[] | select(.step == ""))' \
        "$work/run.json" | tee -a "$samples" | jq -r '"\(.case), \(.what), \(.flows) flows, \(.workers) worker(s): " +
        "\(.received_mpps * 1000 | round / 1000) Mpps, \(.lost) lost, \(.wrong) wrong, cores \(.cores_ns_before) and " +
        "\(.cores_ns_after) ns apart\(if .expired then ", \(.expired) expired" else "" end)" +
        "\(if .reloads then ", \(.reloads) reloads" else "" end)"' >&2
}

# CASE WHAT FLOWS WORKERS COMMAND [ARGUMENTS...]
measure() {
    local case=$1 what=$2 workers=$4
    shift 2
    if generate "$@"; then record "$case" "$what" "$workers"; else stop; fi
}

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

round_of_memif() {
    local count
    near run_io
    for count in "${flows[@]}"; do near run_nat "$count"; done
    near run_exempt
}

run_sessions() {
    start_gateway "$sessions_in_all" "$gateway_cpu" "$translate"
    if generate "$sessions_in_all" 1 sessions --rate "$1"; then
        record sessions "$1" 1 "$(jq -cn --argjson drops "$(drops)" '{drops: $drops}')"
    else
        stop
    fi
}

# This part and those of expiry, reload and RFC 9693 have the longest rings there are: the generator may have to leave its
# CPU to the gateway's management now and then, and no packet may be lost for that.
round_of_sessions() {
    local ring_bits=14 devices=() rate
    devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
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
    local inside=$4 outside=$5 queue_size=32768 first last
    start_gateway "$1" "$3" "$translate"
    sleep 1
    first=$(transmitted)
    sleep "$seconds"
    last=$(transmitted)
    stop
    cores_apart after
    jq -cn --argjson facts "$(facts pcap nat "$2")" --argjson flows "$1" --argjson first "$first" --argjson last "$last" \
        '$facts + {flows: $flows, sent: 0, lost: 0, wrong: 0, latency: null,
        received_mpps: (($last[1] - $first[1]) / ($last[0] - $first[0]) / 1e6)}' | tee -a "$samples" |
        jq -r '"\(.case), \(.flows) flows, \(.workers) worker(s): \(.received_mpps * 1000 | round / 1000) Mpps"' >&2
}

# [seconds, packets that left by the outside port].
transmitted() {
    scrape >"$work/metrics"
    echo "[$EPOCHREALTIME, $(metric "$work/metrics" 'natgw_packets_total{interface="outside",direction="tx"')]"
}

# Half of the least that the rounds before have found, of so many flows or of 65536: half a load wherever the host puts the
# CPUs. [FLOWS]
half_rate() {
    jq -s --argjson flows "${1:-65536}" '[.[] | select(.case == "memif" and .what == "nat" and .flows == $flows) |
        .received_mpps] | min // 6 | . * 500000 | floor' "$samples"
}

run_latency() {
    start_gateway 65536 "$gateway_cpu" "$translate"
    measure latency nat 65536 1 "${load[@]}" --rate "$1" --sample 64
}

run_latency_io() {
    start_io
    measure latency io 65536 1 "${load[@]}" --rate "$1" --sample 64 --expect untouched
}

# What the CPUs, the generator and its ports do to the latency without a gateway is measured in the same rounds.
round_of_latency() {
    near run_latency_io "$(half_rate)"
    near run_latency "$(half_rate)"
}

round_of_expiry() {
    local udp=4 ring_bits=14 devices=() steady=65536 watching until
    devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
    start_gateway $((steady + sessions_in_all)) "$gateway_cpu" "$translate"
    watch_expiry $((udp + 6)) >"$work/expired" &
    watching=$!
    if generate "$steady" 1 load --runs 1 --seconds $((udp + 2)) --rate "$(half_rate)" \
        --short-lived "$sessions_in_all" --warmup-rate 2.5e6; then
        until=$EPOCHREALTIME
        wait "$watching" || true
        record expiry "beside $sessions_in_all that expire" 1 "$(expired "$until")"
    else
        wait "$watching" || true
        stop
    fi
}

# [seconds, sessions that were idle and ended], five times a second, without a look at the worker's CPU: SECONDS
watch_expiry() {
    taskset --cpu-list --pid "$main_cpu" $BASHPID >/dev/null
    curl --silent --no-buffer --rate 5/s "http://$listen/metrics?[1-$((5 * $1))]" |
        grep --line-buffered '^natgw_sessions_deleted_total{reason="idle"}' |
        while read -r _ ended; do echo "[$EPOCHREALTIME, $ended]"; done
}

# What came of it until a time: all that ended, and the most that ended within a second.
expired() {
    jq -cs --argjson until "$1" --argjson all "$sessions_in_all" --argjson drops "$(drops)" '
        map(select(.[0] <= $until)) as $seen | {short_lived: $all,
        expired: ($seen | max_by(.[0])[1]),
        expired_per_s: [$seen[] as $from | [$seen[] | select(.[0] - $from[0] <= 1)] | max_by(.[0])[1] - $from[1]] | max,
        timeline: [$seen[] | [.[0] - $seen[0][0], .[1]]], drops: $drops}' "$work/expired"
}

round_of_reload() {
    local ring_bits=14 devices=() times=3 generating
    devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
    configure "$sessions_in_all" "$gateway_cpu" "$translate"
    further_rules 0 $((rules - times)) >>"$work/gateway.toml"
    start_configured 120
    begin "$sessions_in_all" 1 load --runs 1 --seconds $((2 * times + 2)) --rate "$(half_rate)"
    for ((; times > 0; times--)); do
        sleep 1
        further_rules $((rules - times)) 1 >>"$work/gateway.toml"
        kill -HUP "$process"
        sleep 1
    done
    if wait "$generating"; then
        record reload "$rules rules" 1 "$(reloaded)"
    else
        stop
    fi
}

# A change that makes the worker look through all sessions, once under load. Those whose endpoints it takes away end, and
# begin again elsewhere: what still comes from outside to where they were is dropped, and is no loss.
round_of_sweep() {
    local ring_bits=14 devices=() what
    devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
    for what in filtering address forward; do near run_sweep "$what"; done
}

run_sweep() {
    local generating took
    start_gateway "$sessions_in_all" "$gateway_cpu" "$translate"
    begin "$sessions_in_all" 1 load --runs 1 --seconds 5 --rate "$(half_rate "$sessions_in_all")"
    sleep 1
    took=$(taskset --cpu-list "$main_cpu" bash -c "$(declare -f change); change $1 $work/gateway.toml $natctl $socket") ||
        die "the change of the $1 was refused"
    if wait "$generating"; then
        record sweep "$1" 1 "$(swept "$took")"
        tail -n 1 "$samples" | jq -r '"swept in \(.sweep_s) s, \(.sessions_ended) sessions ended; of \(.sent) packets " +
            "\(.ended_packets) for where they were, and \(.lost - .ended_packets) more lost; drops \(.drops)"' >&2
    else
        stop
    fi
}

# Changes it and prints how many seconds it took until all was through: WHAT CONFIGURATION NATCTL SOCKET
change() {
    local begun external
    case $1 in
    filtering) sed -i '0,/^name = "main"$/s//&\nfiltering = "address-and-port-dependent"/' "$2" ;;
    address) sed -i 's/^addresses = \["100.64.0.0-/addresses = ["100.64.0.1-/' "$2" ;;
    forward) external=$("$3" --socket "$4" --json sessions --limit 1 | jq -er '.items[0].outside') || return ;;
    esac
    begun=$EPOCHREALTIME
    if [[ $1 == forward ]]; then
        "$3" --socket "$4" forwards add udp "$external" 10.64.0.1:80 >/dev/null || return
    else
        "$3" --socket "$4" reload >/dev/null || return
    fi
    awk -v begun="$begun" -v ended="$EPOCHREALTIME" 'BEGIN { printf "%.3f\n", ended - begun }'
}

# SECONDS
swept() {
    scrape >"$work/metrics"
    jq -cn --argjson took "$1" --argjson drops "$(drops)" \
        --argjson ended "$(metric "$work/metrics" 'natgw_sessions_deleted_total{reason="reload"}')" '{sweep_s: $took,
        sessions_ended: $ended, drops: $drops,
        ended_packets: ([$drops["no-mapping", "not-for-us", "filtered"] // 0] | add)}'
}

# Rules for hosts that do not speak, from a number on: FIRST COUNT
further_rules() {
    awk -v first="$1" -v count="$2" 'BEGIN {
        for (i = first; i < first + count; i++) {
            at = 10 * 2 ^ 24 + 2 ^ 23 + 64 * i
            printf "[[nat.rules]]\nsource = \"%d.%d.%d.%d/%d\"\naction = \"drop\"\n", at / 2 ^ 24, at / 2 ^ 16 % 256,
                at / 256 % 256, at % 256, 26 + i % 7
        }
    }'
}

reloaded() {
    scrape >"$work/metrics"
    jq -cn --argjson reloads "$(metric "$work/metrics" 'natgw_config_reloads_total{result="applied"}')" \
        --argjson ended "$(metric "$work/metrics" 'natgw_sessions_deleted_total')" --argjson rules "$rules" \
        --argjson drops "$(drops)" '{rules: $rules, reloads: $reloads, sessions_ended: $ended, drops: $drops}'
}

# A listing of all sessions at a time, from the first page to the last; the gateway's memory before and after. At this rate
# the rings hold the packets of 100 ms, for which the host may take a CPU away. So lost packets are the gateway's.
round_of_listing() {
    local ring_bits=14 devices=() generating grown
    devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
    start_gateway "$sessions_in_all" "$gateway_cpu" "$translate"
    begin "$sessions_in_all" 1 load --runs 1 --seconds 40 --rate 2e5
    grown=$(resident)
    taskset --cpu-list "$main_cpu" scripts/bench/list.py "http://$listen" 20 >"$work/listed"
    grown=$(($(resident) - grown))
    if wait "$generating"; then
        record listing "all sessions listed" 1 \
            "$(jq -c --argjson drops "$(drops)" --argjson kib "$grown" '. + {grown_kib: $kib, drops: $drops}' "$work/listed")"
        tail -n 1 "$samples" | jq -r '"listed \(.sessions) sessions, \(.listings) times, the longest page after " +
            "\(.page_ms_max) ms; memory grew by \(.grown_kib) KiB; drops \(.drops)"' >&2
    else
        stop
    fi
}

# Memory of the gateway that it does not share with others, KiB.
resident() { awk '$1 == "RssAnon:" { print $2 }' "/proc/$process/status"; }

round_of_rfc9693() {
    local port_hold=0 ring_bits=14 devices=() method count
    devices=(--inside "$(memif client 0)" --outside "$(memif client 1)")
    for method in establishment capacity tear-down; do
        count=$sessions_in_all
        [[ $method != capacity ]] || count=$((2 * count))
        start_gateway "$sessions_in_all" "$gateway_cpu" "$translate"
        if generate "$count" 1 rfc9693 "$method" --rate 6e6 --reset "$natctl --socket $socket flush"; then
            stop
            cores_apart after
            jq -c --argjson facts "$(facts rfc9693 "$method" 1)" --argjson flows "$count" \
                '$facts + {flows: $flows, value, unit, trials}' "$work/run.json" | tee -a "$trials" |
                jq -r '"rfc9693, \(.what): \(.value | round) \(.unit), \(.trials | length) trial(s)"' >&2
        else
            stop
        fi
    done
}

# With two CPUs the generator would share one with a worker.
round_of_workers() {
    local cpus=$gateway_cpu,$(((gateway_cpu + 1) % $(nproc))) spread
    (($(nproc) >= 3)) || return 0
    start_gateway 65536 "$gateway_cpu" "$translate"
    measure workers one 65536 1 "${load[@]}"
    for spread in owner crossed; do
        start_gateway 65536 "$cpus" "$translate"
        measure workers "$spread" 65536 2 "${load[@]}" --spread "$spread"
    done
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
    ip netns exec bench-nat nft -f - <<NFT
table ip nat {
    chain postrouting {
        type nat hook postrouting priority srcnat
        ip saddr 10.0.0.0/8 oifname "nat-out" snat to 100.64.0.1-100.64.0.16
    }
}
NFT
}

round_of_kernel() {
    local count inside_namespace=(ip netns exec bench-gen)
    local devices=(--inside "net_af_packet0,iface=gen-in" --outside "net_af_packet1,iface=gen-out")
    for count in 64 65536; do
        cores_apart before
        measure kernel nftables "$count" 1 "${load[@]}" --warmup-rate 50000
    done
}

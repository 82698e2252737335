#!/usr/bin/env bash
# docker/ as its users have it: builds the image, brings docker/compose.yaml up with real containers, by the compose plugin
# and by the older docker-compose, whichever are installed, and looks at what came of it.
#
#   scripts/test-docker.sh [--keep]
#
#   --keep   leave the images there
#
# Where no registry can be reached, images of the same names are made from Debian's packages: needs root and debootstrap.
# Says so and exits 0 where Docker does not run. Takes five minutes of two CPUs, most of them the compiler's.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

keep=false
for argument in "$@"; do
    case $argument in
    --keep) keep=true ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
    esac
done

BASE=debian:bookworm-slim
PROMETHEUS=$(sed -n 's/^ *image: \(prom\/.*\)/\1/p' docker/compose.yaml)
SIZE_MAX=150000000
export COMPOSE_PROJECT_NAME=natgw-test COMPOSE_FILE=docker/compose.yaml

if ! docker info >/dev/null 2>&1; then
    say "skipped: Docker does not run here (docker info fails)"
    exit 0
fi
composes=()
docker compose version >/dev/null 2>&1 && composes+=("docker compose")
command -v docker-compose >/dev/null && composes+=(docker-compose)
((${#composes[@]})) || die "needs docker compose or docker-compose"

tool=${composes[0]}
compose() { $tool "$@"; }
made=()
tear_down() {
    compose down --volumes --timeout 2 >/dev/null 2>&1 || true
    $keep || docker image rm "${made[@]}" >/dev/null 2>&1 || true
}
trap tear_down EXIT
trap 'exit 130' INT TERM

# ---- steps ---------------------------------------------------------------------------------------------------------

ok() { printf '  ok      %-44s %s\n' "$1" "${2:-}"; }

failed() {
    printf '  failed  %-44s %s\n' "$1" "${2:-}"
    compose logs --no-color 2>&1 | tail -n 60 >&2 || true
    exit 1
}

# Fails the step $1 unless $2 is $3.
is() {
    [[ $2 == "$3" ]] || failed "$1" "is '$2', not '$3'"
    ok "$1" "$2"
}

# Fails the step $1 unless text $2 holds $3.
holds() {
    [[ $2 == *"$3"* ]] || failed "$1" "'$3' is not in: $2"
    ok "$1" "$3"
}

# Polls for half a minute until the command prints $2 at the end.
becomes() {
    local step=$1 wanted=$2 found='' until=$((SECONDS + 30))
    shift 2
    until found=$("$@" 2>/dev/null) && [[ $found == "$wanted" ]]; do
        ((SECONDS < until)) || failed "$step" "is '$found', not '$wanted'"
        sleep 0.2
    done
    ok "$step" "$found"
}

# ---- images --------------------------------------------------------------------------------------------------------

has_image() { docker image inspect "$1" >/dev/null 2>&1 || docker pull -q "$1" 2>/dev/null; }

# What Debian's own slim image is: a minimal system without documentation, translations and apt's caches.
import_base() {
    local root
    command -v debootstrap >/dev/null || die "$BASE cannot be pulled, and debootstrap is not installed"
    say "no registry: making $BASE with debootstrap"
    root=$(mktemp -d)
    as_root debootstrap --variant=minbase bookworm "$root" >/dev/null || die "debootstrap failed: see $root"
    printf 'path-exclude /usr/share/%s/*\n' doc man locale |
        as_root tee "$root/etc/dpkg/dpkg.cfg.d/docker" >/dev/null
    printf 'Dir::Cache::pkgcache "";\nDir::Cache::srcpkgcache "";\nDPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };\n' |
        as_root tee "$root/etc/apt/apt.conf.d/docker" >/dev/null
    as_root rm -rf "$root"/usr/share/{doc,man,locale} "$root"/var/lib/apt/lists "$root"/var/cache/{apt,debconf} "$root"/var/log/*.log
    as_root mkdir -p "$root/var/cache/apt/archives/partial" "$root/var/cache/debconf" "$root/var/lib/apt/lists/partial"
    as_root tar -C "$root" -c . | docker import - "$BASE" >/dev/null
    as_root rm -rf "$root"
    made+=("$BASE")
}

build_prometheus() {
    say "no registry: making $PROMETHEUS of Debian's package"
    docker build -q --network host -t "$PROMETHEUS" - >/dev/null <<-END
		FROM $BASE
		RUN apt-get update -q && apt-get install -q -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/*
		RUN install -d -o nobody -m 0775 /prometheus
		ENTRYPOINT ["prometheus"]
	END
    made=("$PROMETHEUS" "${made[@]}")
}

# Where it is compiled, whom this machine trusts is trusted too: a proxy may stand between.
build_toolchain() {
    local context
    context=$(mktemp -d)
    cp --dereference /etc/ssl/certs/ca-certificates.crt "$context"
    docker build -q --network host -t nat-gateway-toolchain -f - "$context" >/dev/null <<-END
		FROM $BASE
		COPY ca-certificates.crt /usr/local/share/
		ENV SSL_CERT_FILE=/usr/local/share/ca-certificates.crt CURL_CA_BUNDLE=/usr/local/share/ca-certificates.crt
	END
    rm -r "$context"
    made=(nat-gateway-toolchain "${made[@]}")
}

# The stage that compiles has a name for as long as this runs, so that it can be taken away.
build_image() {
    local target=$1 name=$2
    made=("$name" "${made[@]}")
    docker build -q --network host -f docker/Dockerfile --build-arg BUILD_IMAGE=nat-gateway-toolchain \
        ${target:+--target "$target"} -t "$name" . >/dev/null || die "the image $name cannot be built"
}

check_image() {
    local size labels
    size=$(docker image inspect -f '{{.Size}}' nat-gateway)
    ((size < SIZE_MAX)) || failed "image size" "$size bytes, more than $SIZE_MAX"
    ok "image size" "$((size / 1000000)) MB"
    labels=$(docker image inspect -f '{{json .Config.Labels}}' nat-gateway | jq -r 'keys[]')
    holds "image labels" "$labels" org.opencontainers.image.licenses
    is "image has a health check" "$(docker image inspect -f '{{len .Config.Healthcheck.Test}}' nat-gateway)" 2
}

# Runs the gateway with further options of docker run, which must end with exit code 2 and a last line that holds $1.
refuses() {
    local why=$1 said status=0
    shift
    said=$(docker run --rm --network none --cap-drop ALL --read-only --tmpfs /run/nat-gateway "$@" \
        -v "$REPO/docker/gateway.toml:/etc/nat-gateway/gateway.toml:ro" nat-gateway 2>&1) || status=$?
    ((status == 2)) || failed "refuses to start without $why" "exit code $status: $said"
    holds "refuses to start without" "${said##*$'\n'}" "$why"
}

check_run() {
    refuses /dev/net/tun
    refuses NET_ADMIN --device /dev/net/tun
    is "runs as" "$(docker run --rm --network none nat-gateway id -un)" nat-gateway
    is "runs as, if told so" "$(docker run --rm --network none -e NAT_GATEWAY_USER=root nat-gateway id -un)" root
}

# ---- compose -------------------------------------------------------------------------------------------------------

id_of() { compose ps --all --quiet "$1"; }
state() { docker inspect -f "$1" "$(id_of "$2")"; }
health() { state '{{.State.Health.Status}}' gateway; }
natctl() { docker exec "$(id_of gateway)" natctl "$@"; }

# The number that Prometheus answers to a query.
ask() { curl -fsS --get --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query | jq -r '.data.result[0].value[1]'; }

# The gateway's process, as the host sees it: its user is not root, and NET_ADMIN (bit 12) is all that it may.
check_privileges() {
    local pid
    pid=$(docker top "$(id_of gateway)" -eo pid,comm | awk '$2 == "nat-gateway" { print $1 }')
    [[ $(awk '/^Uid:/ { print $2 }' "/proc/$pid/status") != 0 ]] || failed "the gateway is not root"
    ok "the gateway is not root" "$(docker exec "$(id_of gateway)" id -un nat-gateway)"
    is "its capabilities" "$(awk '/^CapEff:/ { print $2 }' "/proc/$pid/status")" 0000000000001000
    is "it can gain no others" "$(awk '/^NoNewPrivs:/ { print $2 }' "/proc/$pid/status")" 1
}

check_traffic() {
    is "the client reaches the server" "$(docker wait "$(id_of client)")" 0
    local heard
    heard=$(docker logs --since "$(state '{{.State.StartedAt}}' client)" "$(id_of client)" 2>&1)
    holds "ping" "$heard" "3 packets transmitted, 3 received, 0% packet loss"
    holds "HTTP" "$heard" "hello from the outside"
    [[ $(docker logs "$(id_of server)" 2>&1) =~ 198\.51\.100\.1[0-2]\] ]] || failed "the server sees an address of the pool"
    ok "the server sees an address of the pool" "${BASH_REMATCH[0]%]}"
}

# What was scraped from now on.
check_scrape() {
    local fresh="and on () timestamp(up{job=\"nat-gateway\"}) > $EPOCHSECONDS" direction
    becomes "Prometheus scrapes the gateway" 1 ask "natgw_ready $fresh"
    for direction in outbound inbound; do
        becomes "it has counted the pings, $direction" 3 \
            ask "sum(natgw_translated_packets_total{protocol=\"icmp\",direction=\"$direction\"}) $fresh"
    done
    local rules='[.data.groups[].rules[] | select(.type == "alerting")] | length'
    is "alert rules" "$(curl -fsS http://127.0.0.1:9090/api/v1/rules | jq "$rules")" \
        "$(grep -c -- '- alert:' config/prometheus/alerts.yml)"
}

check_stop() {
    local started=$EPOCHREALTIME
    docker stop --time 10 "$(id_of gateway)" >/dev/null
    is "docker stop: exit code" "$(state '{{.State.ExitCode}}' gateway)" 0
    ok "docker stop: took" "$((${EPOCHREALTIME/./} / 1000 - ${started/./} / 1000)) ms"
    holds "docker stop: the last line" "$(docker logs --tail 1 "$(id_of gateway)" 2>&1)" stopped
    docker start "$(id_of gateway)" >/dev/null
    becomes "docker start: health" healthy health
    docker start "$(id_of client)" >/dev/null
    check_traffic
    check_scrape
}

check_compose() {
    printf '%s\n' "$(compose version | head -n 1)"
    compose up --detach --no-build >/dev/null 2>&1 || failed "up"
    becomes "health" healthy health
    check_traffic
    check_privileges
    is "memory" "$(natctl --json status | jq -r .memory)" no-huge
    check_scrape
    check_stop
    compose down --volumes --timeout 5 >/dev/null 2>&1 || failed "down"
    is "down: containers left" "$(docker ps --all --quiet --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" | wc -l)" 0
}

has_image "$BASE" >/dev/null || import_base
has_image "$PROMETHEUS" >/dev/null || build_prometheus
build_toolchain
build_image build nat-gateway-build
build_image peer nat-gateway-peer
build_image "" nat-gateway
check_image
check_run
for tool in "${composes[@]}"; do
    check_compose
done

#!/usr/bin/env bash
# Installs what the gateway needs to be built and tested on Debian 12 or 13.
#
#   scripts/setup.sh [--build-only]
#
#   --build-only   only what the compiler needs: no test programs, no lints
#
# Runs as root, or as a user who may use sudo. What is there already is neither asked for nor downloaded again.
# Rust comes from rustup, the way https://rustup.rs says, in the version of rust-toolchain.toml; where there is no rustup
# but a distribution's Rust that is new enough, that one stays.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

build_only=false
for argument in "$@"; do
    case $argument in
    --build-only) build_only=true ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
    esac
done

build_packages=(
    build-essential ca-certificates curl git pkg-config
    libdpdk-dev # headers, libraries and, through them, every poll-mode driver
    libclang-dev # for bindgen
)
test_packages=(
    bind9-dnsutils # dig
    busybox-static cpio qemu-system-x86 # guests with PCI devices
    chromium # the status page
    coturn # a STUN server and turnutils_natdiscovery
    dnsmasq-base
    ethtool
    iperf3
    iproute2
    iputils-ping
    iputils-tracepath
    jq
    nftables
    procps
    prometheus # and promtool
    python3
    python3-scapy # ICMP errors are checked by it
    python3-venv # for Schemathesis and aioquic
    shellcheck
    systemd # systemd-analyze
    traceroute
    tshark # captures are read by it
    util-linux
    valgrind # callgrind
    vsftpd
    wireguard-go wireguard-tools # a client that moves
)

missing_packages() {
    local package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
    done
}

# Some of the packages bring a service that would start at once and at every boot; none is wanted.
install_packages() {
    local policy=/usr/sbin/policy-rc.d own_policy=false service status=0
    if [[ ! -e $policy ]]; then
        own_policy=true
        printf '#!/bin/sh\nexit 101\n' | as_root install -m 0755 /dev/stdin "$policy"
    fi
    as_root apt-get update -q &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@" || status=$?
    if $own_policy; then as_root rm -f "$policy"; fi
    for service in coturn iperf3 prometheus vsftpd; do
        if [[ " $* " == *" $service "* ]] && command -v systemctl >/dev/null; then
            as_root systemctl disable --quiet "$service.service" 2>/dev/null || true
        fi
    done
    return "$status"
}

setup_packages() {
    local missing
    command -v apt-get >/dev/null || die "needs Debian's apt-get"
    mapfile -t missing < <(missing_packages "$@")
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    install_packages "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
}

# A package of PyPI's in a place of its own: PACKAGE VERSION PLACE
setup_python() {
    say "installing $1 $2 from PyPI into $3"
    as_root /usr/bin/python3 -m venv "$3"
    as_root "$3/bin/pip" install --quiet --disable-pip-version-check "$1==$2" || die "could not install $1 from PyPI"
}

# Its checks must not change under the tests. Debian has no package of it.
setup_schemathesis() {
    local place=/usr/local/lib/schemathesis
    ! command -v schemathesis >/dev/null || return 0
    setup_python schemathesis 4.32.5 "$place"
    as_root ln -sf "$place/bin/schemathesis" /usr/local/bin/
}

# QUIC connections for the tests. Debian 12 has no package of it.
setup_aioquic() {
    local place=/usr/local/lib/aioquic
    "$place/bin/python" -c 'import aioquic' 2>/dev/null || setup_python aioquic 1.7.2 "$place"
}

# Where the toolchains come from, there is the installer too.
rustup_installer() {
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs ||
        curl --proto '=https' --tlsv1.2 -sSf https://static.rust-lang.org/rustup/rustup-init.sh
}

setup_rust() {
    local pinned needed found
    pinned=$(pinned_rust) needed=$(rust_version)
    if command -v rustup >/dev/null; then
        rustup run "$pinned" cargo --version >/dev/null 2>&1 && return
        say "adding Rust $pinned with rustup"
        rustup toolchain install "$pinned" --no-self-update --profile minimal --component clippy --component rustfmt
        return
    fi
    found=$(cargo --version 2>/dev/null | awk '{ print $2 }') || true
    if [[ -n $found ]] && at_least "$found" "$needed"; then
        return
    fi
    say "Rust ${found:-is missing}, $needed is needed: installing $pinned with https://sh.rustup.rs into ${CARGO_HOME:-$HOME/.cargo}"
    rustup_installer | sh -s -- -y --profile minimal --default-toolchain "$pinned" --component clippy --component rustfmt ||
        die "could not install Rust: rustup.rs must be reachable, or Rust $needed or newer be there"
    hash -r
}

setup_rust_lints() {
    local component
    for component in clippy fmt; do
        cargo "$component" --version >/dev/null 2>&1 && continue
        command -v rustup >/dev/null || die "cargo $component is missing, and there is no rustup to add it"
        say "adding cargo $component"
        rustup component add "${component/#fmt/rustfmt}"
    done
}

if $build_only; then
    setup_packages "${build_packages[@]}"
    setup_rust
else
    setup_packages "${build_packages[@]}" "${test_packages[@]}"
    setup_schemathesis
    setup_aioquic
    setup_rust
    setup_rust_lints
fi

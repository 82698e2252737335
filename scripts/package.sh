#!/usr/bin/env bash
# Builds a Debian package for the release that it runs on: programs, configuration, systemd unit, man pages, completions.
#
#   scripts/package.sh [DIRECTORY]
#
#   DIRECTORY   where the package goes; target/debian by default
#
# Installs cargo-deb with cargo where it is missing.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

directory=target/debian
case ${1:-} in
-h | --help) usage ;;
-*) usage 2 >&2 ;;
?*) directory=$1 ;;
esac

scripts/setup.sh --build-only
if ! cargo deb --version >/dev/null 2>&1; then
    say "installing cargo-deb"
    cargo install --quiet --locked cargo-deb
fi
cargo build --quiet --release --locked --workspace --bins --example manual
programs=${CARGO_TARGET_DIR:-target}/release
rm -rf target/manual
"$programs/examples/manual" target/manual
# The package is of the release that it was built on: it needs that release's DPDK.
. /etc/os-release
mkdir -p "$directory"
cargo deb --no-build --package nat-gateway --output "$directory/" --deb-revision "1~${ID}${VERSION_ID:-}"

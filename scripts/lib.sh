# shellcheck shell=bash
# What the scripts share: where the repository is, one line a message, root by sudo where it is needed.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$REPO"
# rustup's programs come before a distribution's older ones.
PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() {
    say "$*"
    exit 1
}

# Prints the comment at the head of the calling script.
usage() {
    awk 'NR == 1 { next } !/^#/ { exit } { sub(/^# ?/, ""); print }' "$0"
    exit "${1:-0}"
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "'$1' needs root: run $0 as root, or install sudo"
    fi
}

# The Rust that rust-toolchain.toml names.
pinned_rust() { sed -n 's/^channel *= *"\(.*\)"/\1/p' "$REPO/rust-toolchain.toml"; }

# The oldest Rust that builds the workspace.
rust_version() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$REPO/Cargo.toml"; }

# True where version $1 is not older than $2.
at_least() { [[ $(printf '%s\n' "$2" "$1" | sort --version-sort | head -n 1) == "$2" ]]; }

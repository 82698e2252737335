#!/usr/bin/env bash
# The whole test suite: format, lints, documentation, instruction counts, unit, property, DPDK and namespace tests, the shipped
# configurations and these scripts. Goes on after a failure; exits 0 when there was none.
#
#   scripts/test.sh [--no-netns]
#
#   --no-netns   leave out the tests with real sockets in network namespaces and those of PCI drivers in guests: the only
#                ones that need root
#
# A user who is not root runs those through sudo; without it they fail, they are not skipped.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

netns=true
for argument in "$@"; do
    case $argument in
    --no-netns) netns=false ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
    esac
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failures=()

stage() {
    local title=$1
    shift
    printf '\n== %s: %s\n' "$title" "$*"
    "$@" || failures+=("$title")
}

# Runs cargo test and keeps its result lines for the count.
cargo_test() { cargo test --no-fail-fast "$@" 2>&1 | tee -a "$log"; }

# The namespace tests share two CPUs with what they test, so they run one after another.
netns_tests() {
    local runner=()
    ((EUID == 0)) || runner=(--config 'target."cfg(all())".runner = "sudo --preserve-env --"')
    cargo_test "${runner[@]}" --workspace --test netns -- --test-threads=1
}

other_tests() {
    local targets
    mapfile -t targets < <(cargo metadata --no-deps --format-version 1 |
        jq -r '.packages[].targets[] | select(.kind == ["test"] and .name != "netns") | "--test=" + .name')
    cargo_test --quiet --workspace --lib --bins --examples "${targets[@]}"
}

check_configurations() {
    local file status=0
    for file in config/*.toml docker/*.toml; do
        cargo run --quiet --package nat-gateway -- check --config "$file" || status=1
    done
    return "$status"
}

# systemd-analyze only warns of a key that it does not know. The programs that were built stand for those to be installed.
service_unit() {
    local directory said
    directory=$(mktemp -d)
    sed "s|/usr/bin/|${CARGO_TARGET_DIR:-$PWD/target}/debug/|; /^Documentation=/d" config/systemd/nat-gateway.service \
        >"$directory/nat-gateway.service"
    said=$(systemd-analyze verify "$directory/nat-gateway.service" 2>&1) || said+=$'\n'"systemd-analyze failed"
    rm -r "$directory"
    [[ -z $said ]] || { echo "$said" && return 1; }
}

documentation() { RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --workspace --no-deps; }

scripts/setup.sh
stage "scripts" shellcheck --external-sources scripts/*.sh scripts/guest/init docker/*.sh .ci/run
stage "format" cargo fmt --all --check
stage "lints" cargo clippy --quiet --workspace --all-targets -- --deny warnings
stage "documentation" documentation
stage "instructions" scripts/instructions.sh
stage "tests" other_tests
stage "documentation examples" cargo_test --quiet --workspace --doc
stage "configurations" check_configurations
stage "service" service_unit
if $netns; then
    stage "PCI drivers" as_root scripts/test-pci.sh
    stage "namespace tests" netns_tests
fi

echo
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$log"
((${#failures[@]} == 0)) || die "failed: $(printf '%s; ' "${failures[@]}" | sed 's/; $//')"

#!/usr/bin/env bash
# The whole test suite: format, lints, documentation, instruction counts, unit, property, DPDK and namespace tests, the shipped
# configurations and these scripts. Goes on after a failure; exits 0 when there was none. At the end it tells how long each
# part took.
#
#   scripts/test.sh [--no-netns | --fast]
#
#   --no-netns   leave out the tests with real sockets in network namespaces and those of PCI drivers in guests: the only
#                ones that need root
#   --fast       what a change in the engine is most likely to break, in two minutes: format, lints, unit tests, the engine's
#                properties with fewer random steps and sessions, wire formats, the worker's loop, configurations, documents
#
# A user who is not root runs those through sudo; without it they fail, they are not skipped.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Tests in namespaces that run beside each other. They wait most of the time; those that do not, run alone.
NAMESPACE_TESTS=3
# Random steps a property of the engine is tried with by --fast, and the engine's tests that it leaves out, by their size.
FAST_STEPS=20000
FAST_SKIPS=(--skip many_addresses:: --skip a_flow_goes_on_among_1_000_000_sessions)

netns=true fast=false
for argument in "$@"; do
    case $argument in
    --no-netns) netns=false ;;
    --fast) fast=true ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
    esac
done

work=$(mktemp -d)
programs=${CARGO_TARGET_DIR:-$PWD/target}/debug
beside_pids=()
touch "$work"/{log,failures,times}

clean_up() {
    local pid
    # A stage in the background leads a process group.
    for pid in "${beside_pids[@]}"; do kill -- "-$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

stage() {
    local title=$1 begun=$EPOCHREALTIME
    shift
    printf '\n== %s: %s\n' "$title" "$*"
    "$@" || echo "$title" >>"$work/failures"
    echo "$begun $EPOCHREALTIME $title" >>"$work/times"
}

# A stage that runs while others do. `join` waits for all of them and prints what they have said.
beside() {
    set -m
    stage "$@" >"$work/beside-${#beside_pids[@]}" 2>&1 </dev/null &
    beside_pids+=("$!")
    set +m
}

join() {
    local nth
    for nth in "${!beside_pids[@]}"; do
        wait "${beside_pids[nth]}" || true
        cat "$work/beside-$nth"
    done
    beside_pids=()
}

# Keeps the result lines of tests for the count.
counted() { "$@" 2>&1 | tee -a "$work/log"; }

# Builds all tests by one command, and notes each program: name, folder of its package, path. The features of a dependency differ
# with the packages and targets that are built together, so these programs are run as they are, and nothing is built twice.
build() {
    cargo test --quiet --no-run --workspace --lib --bins --examples --tests --message-format json-render-diagnostics |
        jq -r 'select(.reason == "compiler-artifact" and .profile.test and .executable != null)
            | [.target.name, (.manifest_path | rtrimstr("/Cargo.toml")), .executable] | @tsv' >"$work/programs"
}

# Runs the programs whose names the pattern matches in full, as cargo would, under a command where one is named.
#
#   run_tests PATTERN [COMMAND...] -- [ARGUMENT...]
run_tests() {
    local pattern=$1 command=() name directory program found=false status=0
    shift
    while [[ $1 != -- ]]; do command+=("$1") && shift; done
    shift
    while IFS=$'\t' read -r name directory program; do
        [[ $name =~ ^($pattern)$ ]] || continue
        found=true
        printf '\n-- %s\n' "$name"
        (cd "$directory" && "${command[@]}" "$program" "$@" </dev/null) || status=1
    done <"$work/programs"
    $found || die "no test is called $pattern"
    return "$status"
}

netns_tests() {
    local command=()
    ((EUID == 0)) || command=(sudo --preserve-env --)
    counted run_tests netns "${command[@]}" -- --test-threads="$NAMESPACE_TESTS"
}

# Takes no CPU that a test with a clock could use.
engine_tests() { counted run_tests engine chrt --idle 0 -- --quiet; }

other_tests() {
    local others
    others=$(cut -f 1 "$work/programs" | grep --invert-match --line-regexp 'netns\|engine' | sort --unique | paste --serial --delimiters '|')
    counted run_tests "$others" -- --quiet
}

fast_tests() {
    ENGINE_STEPS=$FAST_STEPS counted cargo test --no-fail-fast --quiet --workspace --lib --test engine --test properties --test simulation \
        --test check --test docs --test layering -- "${FAST_SKIPS[@]}"
}

check_configurations() {
    local file status=0
    for file in config/*.toml docker/*.toml; do
        "$programs/nat-gateway" check --config "$file" || status=1
    done
    return "$status"
}

# systemd-analyze only warns of a key that it does not know. The programs that were built stand for those to be installed.
service_unit() {
    local directory said
    directory=$(mktemp -d)
    sed "s|/usr/bin/|$programs/|; /^Documentation=/d" config/systemd/nat-gateway.service \
        >"$directory/nat-gateway.service"
    said=$(systemd-analyze verify "$directory/nat-gateway.service" 2>&1) || said+=$'\n'"systemd-analyze failed"
    rm -r "$directory"
    [[ -z $said ]] || { echo "$said" && return 1; }
}

documentation() { RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --workspace --no-deps --document-private-items; }

# Seconds a stage took and their share of all, which are more than 100 % together where stages ran beside each other.
print_times() {
    awk -v begun="$1" -v ended="$EPOCHREALTIME" '
        { took = $2 - $1; $1 = $2 = ""; printf "%6.0f s %4.0f %% %s\n", took, 100 * took / (ended - begun), substr($0, 2) }
        END { printf "%6.0f s in all\n", ended - begun }' "$work/times"
}

begun=$EPOCHREALTIME
scripts/setup.sh
stage "scripts" shellcheck --external-sources scripts/*.sh scripts/guest/init docker/*.sh .ci/run
stage "format" cargo fmt --all --check
if $fast; then
    stage "lints" cargo clippy --quiet --workspace --all-targets -- --deny warnings
    stage "tests" fast_tests
else
    # It has a profile of its own, so cargo builds it beside the others.
    beside "instructions" scripts/instructions.sh
    stage "lints" cargo clippy --quiet --workspace --all-targets -- --deny warnings
    stage "documentation" documentation
    stage "build" build
    beside "engine" engine_tests
    stage "tests" other_tests
    stage "documentation examples" counted cargo test --no-fail-fast --quiet --workspace --doc
    stage "configurations" check_configurations
    stage "service" service_unit
    if $netns; then
        stage "PCI drivers" as_root scripts/test-pci.sh --programs "$programs"
        stage "namespace tests" netns_tests
    fi
    join
fi

echo
print_times "$begun"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$work/log"
mapfile -t failures <"$work/failures"
((${#failures[@]} == 0)) || die "failed: $(printf '%s; ' "${failures[@]}" | sed 's/; $//')"

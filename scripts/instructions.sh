#!/usr/bin/env bash
# Counts the instructions that the engine takes for a packet and holds them against gateway/nat/benches/instructions.txt.
#
#   scripts/instructions.sh [--update]
#
#   --update   writes the counts into the file
#
# A fixed trace (gateway/nat/benches/instructions.rs) runs under callgrind, so that the counts are the same on a busy machine.
# More than 3 % above the file's count is a failure, and so is more than 3 % below: what was won is to be kept, by --update.
# Another compiler makes other instructions: nothing is compared then.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

update=false
for argument in "$@"; do
    case $argument in
    --update) update=true ;;
    -h | --help) usage ;;
    *) usage 2 >&2 ;;
    esac
done

record=gateway/nat/benches/instructions.txt
compiler=$(rustc --version --verbose | awk '/^release:/ { release = $2 } /^host:/ { host = $2 } END { print release, host }')
command -v valgrind >/dev/null || die "needs valgrind: scripts/setup.sh installs it"

if ! $update && [[ $(sed -n 's/^compiler: //p' "$record") != "$compiler" ]]; then
    say "counted with $(sed -n 's/^compiler: //p' "$record"), not with $compiler: not compared"
    exit 0
fi

say "building the engine"
program=$(cargo bench --quiet --package natgw-nat --profile instructions --bench instructions --no-run \
    --message-format json | jq -r 'select(.target.name? == "instructions" and .executable) | .executable')
[[ -x $program ]] || die "the build left no program"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints instructions a packet of one case, with one decimal.
count() {
    local packets total
    packets=$(valgrind --quiet --tool=callgrind --callgrind-out-file="$work/$1" \
        --toggle-collect='instructions::counted' --toggle-collect='instructions::ended' "$program" "$1") || return
    total=$(sed -n 's/^\(summary\|totals\): //p' "$work/$1" | head -n 1)
    awk -v total="$total" -v packets="$packets" 'BEGIN { printf "%.1f\n", total / packets }'
}

$update && { echo "compiler: $compiler" && echo "# case, instructions a packet"; } >"$work/record"
status=0
while read -r case; do
    now=$(count "$case") || die "$case does not run"
    awk -v now="$now" 'BEGIN { exit !(now > 1) }' || die "$case: nothing was counted"
    if $update; then
        echo "$case $now" | tee -a "$work/record"
        continue
    fi
    before=$(awk -v name="$case" '$1 == name { print $2 }' "$record")
    [[ -n $before ]] || die "$case is not in $record: scripts/instructions.sh --update"
    verdict=$(awk -v now="$now" -v before="$before" 'BEGIN {
        change = 100 * (now - before) / before
        printf "%+.1f %%", change
        if (change > 3) printf " MORE"
        if (change < -3) printf " less: update the file"
    }')
    printf '%-18s %8s %8s  %s\n' "$case" "$before" "$now" "$verdict"
    [[ $verdict == *% ]] || status=1
done < <("$program")
if $update; then cp "$work/record" "$record"; fi
exit "$status"

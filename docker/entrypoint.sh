#!/bin/sh
# Plugs the gateway's taps into the networks of its container, gives up root and becomes the gateway.
#
#   entrypoint.sh [TAP=ADDRESS...] PROGRAM [ARGUMENT...]
#
# ADDRESS is the container's own in the network that TAP belongs to, and tells which interface that is: their order is
# not certain. A bridge joins the two. The interface loses the address, for in that network the gateway speaks, not
# the kernel. Needs NET_ADMIN.
#
# The program runs as NAT_GATEWAY_USER, nat-gateway where that is unset, and keeps no capability but NET_ADMIN. Without
# SETUID and SETGID there is no way to another user, and the program stays who it is.
set -eu

fail() {
    echo "entrypoint.sh: $*" >&2
    exit 2
}

# Puts interface $2 onto a bridge of its own, and tap $1 beside it once the gateway has started it. Who waits for that
# is left to tini: the gateway knows nothing of children.
plug_in() {
    ip link add "br-$1" up type bridge
    ip address flush dev "$2"
    ip link set "$2" master "br-$1"
    (wait_for_tap "$1" "$2" &)
}

# The kernel's end of a tap carries the port's own MAC address, which the bridge would take for itself.
wait_for_tap() {
    tries=0
    until [ -n "$(ip -o link show dev "$1" up 2>/dev/null)" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 600 ] || fail "the gateway has started no $1"
        sleep 0.05
    done
    ip link set "$1" address "$(cat "/sys/class/net/$2/address")"
    ip link set "$1" master "br-$1"
    # The end of the port's start gives the tap the port's address once more, just after the link is up.
    sleep 1
    ip link set "$1" address "$(cat "/sys/class/net/$2/address")"
}

has_net_admin() {
    capabilities=$(sed -n 's/^CapPrm:\t*//p' /proc/self/status)
    [ $((0x$capabilities >> 12 & 1)) = 1 ]
}

for tap in "$@"; do
    case $tap in *=*) ;; *) break ;; esac
    # "3: eth1    inet 10.64.0.253/24 ..."
    interface=$(ip -o -4 address show to "${tap#*=}" | (read -r _ name _ && echo "$name")) ||
        fail "no interface has the address of $tap"
    plug_in "${tap%%=*}" "$interface"
    shift
done
[ "$#" -ge 1 ] || fail "usage: entrypoint.sh [TAP=ADDRESS...] PROGRAM [ARGUMENT...]"

set -- tini -- "$@"
# Group root stays: with that, a root without capabilities (the health check, docker exec) may use the control socket.
if [ "$(id -u)" = 0 ] && [ "${NAT_GATEWAY_USER:=nat-gateway}" != root ]; then
    kept=-all
    if has_net_admin; then kept=-all,+net_admin; fi
    unprivileged="setpriv --reuid $NAT_GATEWAY_USER --regid 0 --clear-groups --inh-caps=$kept --ambient-caps=$kept --no-new-privs"
    # shellcheck disable=SC2086 # one word an argument
    if $unprivileged true 2>/dev/null; then set -- $unprivileged "$@"; fi
fi
exec "$@"

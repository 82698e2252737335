#!/bin/sh
# Hands network ports to DPDK through vfio-pci, and says what the machine still lacks for that, with the command that mends it.
#
#   scripts/bind-nic.sh [--dry-run] [--force] [--hugepages NUMBER] PCI-ADDRESS...
#   scripts/bind-nic.sh --unbind PCI-ADDRESS...
#
#   --dry-run            look and tell, change nothing
#   --force              also a port that carries addresses of this machine
#   --hugepages NUMBER   reserve that many pages of 2 MiB on each port's NUMA node
#   --unbind             give the ports back to the kernel's drivers
#
# An address is what lspci prints: 0000:3b:00.0 or 3b:00.0. Exit codes: 0 done (or nothing lacks), 1 something lacks, 2 usage.
# Needs sh, sysfs and, to load vfio-pci, modprobe. Until the next boot; a systemd unit or rc.local makes it last.
set -eu

dry_run=false force=false unbind=false hugepages=0
status=0

say() { printf '%s\n' "$*"; }

# What is missing, and the command that mends it.
lacks() {
    say "  lacks: $1"
    [ -z "${2:-}" ] || say "         $2"
    status=1
}

usage() {
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0" | sed "s|scripts/bind-nic.sh|$0|"
    exit "${1:-0}"
}

run() {
    say "  \$ $*"
    $dry_run || eval "$*" || lacks "the command failed"
}

# The name of what a symbolic link of sysfs points to, or nothing.
linked() { [ ! -e "$1" ] || basename "$(readlink -f "$1")"; }

check_machine() {
    say "machine"
    # A machine without an IOMMU can use vfio-pci in its unsafe mode only, in which a NIC may write anywhere.
    if [ -z "$(ls /sys/class/iommu 2>/dev/null)" ]; then
        lacks "an IOMMU" "firmware: switch VT-d or AMD-Vi on; kernel command line: intel_iommu=on iommu=pt (AMD: iommu=pt)"
    fi
    if [ ! -d /sys/bus/pci/drivers/vfio-pci ]; then
        if $dry_run; then
            modprobe --dry-run --quiet vfio-pci || lacks "the module vfio-pci" "install the kernel's modules"
        else
            modprobe vfio-pci 2>/dev/null || lacks "the module vfio-pci" "install the kernel's modules"
        fi
    fi
    if ! grep -q -w -e isolcpus -e cpuset /proc/cmdline; then
        say "  note: no isolcpus= on the kernel's command line: the scheduler may put other work on the workers' CPUs"
    fi
    free=$(awk '$1 == "HugePages_Free:" { print $2 }' /proc/meminfo)
    if [ "${free:-0}" -eq 0 ] && [ "$hugepages" -eq 0 ]; then
        lacks "free huge pages" "sysctl vm.nr_hugepages=512"
    fi
}

# Whether the kernel speaks through this port: an address, or part of a bond or bridge.
in_use() {
    for interface in "$1"/net/*; do
        [ -e "$interface" ] || continue
        name=${interface##*/}
        [ ! -e "$interface/master" ] || { say "$name is part of $(linked "$interface/master")" && return 0; }
        if ip -o address show dev "$name" scope global 2>/dev/null | grep -q .; then
            say "$name has addresses of this machine" && return 0
        fi
    done
    return 1
}

reserve_hugepages() {
    node=$(cat "$1/numa_node" 2>/dev/null || echo 0)
    [ "$node" -ge 0 ] || node=0
    file=/sys/devices/system/node/node$node/hugepages/hugepages-2048kB
    [ -d "$file" ] || file=/sys/kernel/mm/hugepages/hugepages-2048kB
    [ "$(cat "$file/nr_hugepages")" -ge "$hugepages" ] || run "echo $hugepages >$file/nr_hugepages"
    $dry_run || [ "$(cat "$file/nr_hugepages")" -ge "$hugepages" ] ||
        lacks "$hugepages huge pages on node $node: $(cat "$file/nr_hugepages") could be had" "reserve them at boot: hugepages=$hugepages"
}

bind() {
    address=$1 device=/sys/bus/pci/devices/$1
    driver=$(linked "$device/driver")
    say "$address: driver ${driver:-none}, NUMA node $(cat "$device/numa_node" 2>/dev/null || echo -1)"
    case $driver in
    mlx4_core | mlx5_core)
        say "  DPDK drives this port through the kernel's driver: leave it bound, and install librte-net-${driver%_core} of DPDK's version"
        [ "$hugepages" -eq 0 ] || reserve_hugepages "$device"
        return
        ;;
    esac
    if why=$(in_use "$device") && ! $force; then
        lacks "a port that nobody uses: $why" "ip address flush, or --force"
        return
    fi
    if [ ! -e "$device/iommu_group" ]; then
        lacks "an IOMMU group for $address: see above"
    else
        for other in "$device"/iommu_group/devices/*; do
            other=${other##*/}
            # Bridges (class 0604) stay with the kernel.
            case $other,$(cat "/sys/bus/pci/devices/$other/class"),$(linked "/sys/bus/pci/devices/$other/driver") in
            "$address",* | *,0x0604*,* | *,vfio-pci | *,) ;;
            *) say "  note: $other is in the same IOMMU group, and has to leave its driver too" ;;
            esac
        done
    fi
    [ "$hugepages" -eq 0 ] || reserve_hugepages "$device"
    [ "$driver" = vfio-pci ] && return
    run "echo vfio-pci >$device/driver_override"
    [ -z "$driver" ] || run "echo $address >$device/driver/unbind"
    run "echo $address >/sys/bus/pci/drivers_probe"
    $dry_run || [ "$(linked "$device/driver")" = vfio-pci ] || lacks "a driver vfio-pci that takes $address: see dmesg"
}

unbind() {
    address=$1 device=/sys/bus/pci/devices/$1
    say "$address: driver $(linked "$device/driver")"
    run "echo >$device/driver_override"
    [ ! -e "$device/driver" ] || run "echo $address >$device/driver/unbind"
    run "echo $address >/sys/bus/pci/drivers_probe"
}

ports=
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry_run=true ;;
    --force) force=true ;;
    --unbind) unbind=true ;;
    --hugepages)
        hugepages=${2:-none}
        case $hugepages in *[!0-9]* | '') usage 2 >&2 ;; esac
        shift
        ;;
    -h | --help) usage ;;
    *:*:*.*) ports="$ports $1" ;;
    *:*.*) ports="$ports 0000:$1" ;;
    *) usage 2 >&2 ;;
    esac
    shift
done
[ -n "$ports" ] || usage 2 >&2
for port in $ports; do
    class=$(cat "/sys/bus/pci/devices/$port/class" 2>/dev/null) || { say "$port: no such PCI device (lspci -D lists them)" >&2 && exit 2; }
    case $class in 0x0200* | 0x0280*) ;; *) say "$port: not a network port (class $class)" >&2 && exit 2 ;; esac
done
$dry_run || [ "$(id -u)" -eq 0 ] || { say "needs root, or --dry-run" >&2 && exit 2; }

$unbind || check_machine
for port in $ports; do
    if $unbind; then unbind "$port"; else bind "$port"; fi
done
exit $status

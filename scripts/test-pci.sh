#!/usr/bin/env bash
# Runs the gateway on real PCI drivers: in a small guest of qemu's with an IOMMU, its NICs handed to vfio-pci by
# scripts/bind-nic.sh, the gateway started by PCI addresses with two workers. nat-trafficgen sends thousands of flows through
# it from outside the guest and looks at each packet that comes back.
#
#   scripts/test-pci.sh [--log DIRECTORY] [--programs DIRECTORY] [NIC...]
#
#   --log DIRECTORY        keep what the guests print
#   --programs DIRECTORY   where the programs are; without it they are built
#   NIC                    virtio-net, e1000e, vmxnet3; without any, all
#
# virtio-net has two queues and RSS: there every packet has to arrive at its owner (no handover), by our key and our table.
# The others have none that we could program: software steers. Needs root, and no KVM: a guest takes 12 s.
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

FLOWS=4096
DRIVERS=(bus_pci bus_vdev mempool_ring net_e1000 net_virtio net_vmxnet3)

log='' programs='' nics=()
while (($#)); do
    case $1 in
    --log) log=${2:?--log needs a directory} && shift ;;
    --programs) programs=${2:?--programs needs a directory} && shift ;;
    -h | --help) usage ;;
    virtio-net | e1000e | vmxnet3) nics+=("$1") ;;
    *) usage 2 >&2 ;;
    esac
    shift
done
((${#nics[@]})) || nics=(virtio-net e1000e vmxnet3)
((EUID == 0)) || die "needs root, for a network namespace and its taps"

# Fetches Debian's kernel without installing it.
setup_kernel() {
    local package directory=$1
    compgen -G "$directory/boot/vmlinuz-*" >/dev/null && return
    package=$(apt-cache depends linux-image-amd64 | awk '$1 == "Depends:" && $2 ~ /^linux-image-/ { print $2; exit }')
    [[ -n $package ]] || die "apt knows no linux-image-amd64"
    say "fetching $package"
    mkdir -p "$directory"
    (cd "$directory" && apt-get download -q "$package" >/dev/null 2>&1 && dpkg-deb --extract "$package"_*.deb . && rm "$package"_*.deb) ||
        die "could not fetch $package"
}

# Copies a file to its place below $1, with all the links on the way to it: DPDK takes a driver under two names for two drivers.
copy() {
    local file=$2
    while
        mkdir -p "$1${file%/*}"
        cp --no-dereference "$file" "$1$file"
        [[ -L $file ]]
    do
        file=$(cd "${file%/*}" && realpath --no-symlinks "$(readlink "$file")")
    done
}

# The programs, the libraries they need, DPDK's drivers, the kernel's modules for VFIO.
make_initramfs() {
    local root=$1 kernel=$2 file driver module
    mkdir -p "$root"/{bin,modules,usr/lib,usr/lib64}
    ln -s usr/lib "$root/lib"
    ln -s usr/lib64 "$root/lib64"
    cp /bin/busybox "$root/bin/"
    install -D /usr/bin/setpriv "$root/usr/bin/setpriv"
    sed -n 's/^CapabilityBoundingSet=//p' config/systemd/nat-gateway.service |
        tr 'A-Z ' 'a-z,' | sed 's/cap_/+/g' >"$root/capabilities"
    ln -s busybox "$root/bin/sh"
    for file in nat-gateway natctl; do strip -o "$root/bin/$file" "$programs/$file"; done
    install -m 0755 scripts/guest/init "$root/init"
    install -m 0755 scripts/bind-nic.sh "$root/bin/"
    for driver in "${DRIVERS[@]}"; do
        for file in /usr/lib/x86_64-linux-gnu/dpdk/pmds-*/librte_"$driver".so; do copy "$root" "$file"; done
    done
    ldd "$root"/{bin/nat*,usr/bin/setpriv} "$root"/usr/lib/x86_64-linux-gnu/dpdk/pmds-*/*.so | awk '$2 == "=>" { print $3 } $1 ~ "^/.*ld-" { print $1 }' |
        sort --unique | while read -r file; do copy "$root" "/usr${file#/usr}"; done
    for module in irqbypass iommufd vfio vfio_virqfd vfio_iommu_type1 vfio-pci-core vfio-pci; do
        find "$kernel" -name "$module.ko*" -exec cp {} "$root/modules/" \;
    done
    if compgen -G "$root/modules/*.xz" >/dev/null; then unxz "$root"/modules/*.xz; fi
}

# A tap that only its user end speaks through: the kernel answers nothing there.
make_tap() {
    local name=$1 mode=()
    [[ $2 == 1 ]] || mode=(multi_queue)
    "${inside[@]}" ip tuntap add "$name" mode tap vnet_hdr "${mode[@]}"
    "${inside[@]}" sysctl -q -w "net.ipv6.conf.$name.disable_ipv6=1"
    "${inside[@]}" ip link set "$name" up
}

# qemu's arguments for one port: device model, name of the tap, slot of the PCI bus, queues.
port() {
    local nic=$1 tap=$2 slot=$3 queues=$4 backend=''
    ((queues == 1)) || backend=",queues=$queues"
    arguments+=(-netdev "tap,id=$tap,ifname=$tap,script=no,downscript=no,vhost=off$backend")
    case $nic in
    virtio-net)
        # A vector a queue, one for the configuration, one for the control queue.
        nic="virtio-net-pci,disable-legacy=on,iommu_platform=on,mq=on,rss=on,vectors=$((2 * queues + 2))"
        ;;
    esac
    arguments+=(-device "$nic,netdev=$tap,bus=pcie.0,addr=$slot,mac=02:00:00:00:01:0$slot")
}

# Waits for a line of the guest's that begins as $1 says; the lines before it go to $work/said.
await() {
    local line
    while IFS= read -r -t 60 -u "${guest[0]}" line; do
        line=${line%$'\r'}
        printf '%s\n' "$line" >>"$work/said"
        [[ $line == "$1"* ]] && return
    done
    tail -n 20 "$work/said" >&2
    return 1
}

# The sum of a metric's samples that match the extended regular expression $2.
metric() { awk -v name="$1" -v labels="${2:-.}" '$1 ~ "^" name "[{]" && $1 ~ labels { sum += $2 } END { printf "%.0f\n", sum }' "$work/said"; }

configuration() {
    cat <<END
[dpdk]
main_lcore = 0
worker_lcores = [1, 2]
memory = "hugepages"

[[interfaces]]
name = "inside"
device = "0000:00:04.0"
role = "inside"
addresses = ["172.16.0.1/30"]

[[interfaces]]
name = "outside"
device = "0000:00:05.0"
role = "outside"
addresses = ["172.16.1.1/30"]

[[routes]]
prefix = "10.0.0.0/8"
via = "172.16.0.2"

[[routes]]
prefix = "0.0.0.0/0"
via = "172.16.1.2"

[[nat.pools]]
name = "main"
addresses = ["100.64.0.0/26"]

[[nat.rules]]
source = "10.0.0.0/8"
pool = "main"

[nat.limits]
sessions = 20_000

[management]
socket = "/run/control.sock"
END
}

# Fails the NIC under test unless the arithmetic condition $1 holds.
expect() { (($1)) || failures+=("$1"); }

# Runs a command in the background, so that a signal ends the script at once and not when the command is through.
in_background() {
    local status=0
    "$@" &
    background=$!
    wait "$background" || status=$?
    background=
    return "$status"
}

end_guest() {
    local process
    trap '' INT TERM HUP
    for process in ${background:-} ${guest_PID:-}; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    [[ -z ${namespace:-} ]] || ip netns del "$namespace" 2>/dev/null || true
    rm -rf "${work:-}" "$initramfs"
}

try() {
    local nic=$1 queues=1 arguments failures=() worker workers sent lost wrong handed_over steering
    [[ $nic != virtio-net ]] || queues=2
    work=$(mktemp -d)
    namespace=natgw-pci-$$
    inside=(ip netns exec "$namespace")
    ip netns add "$namespace"
    make_tap tap-in "$queues"
    make_tap tap-out "$queues"
    configuration >"$initramfs/gateway.toml"
    (cd "$initramfs" && find . | cpio --quiet --create --format newc | gzip -1) >"$work/initramfs"
    arguments=(-machine "q35,kernel-irqchip=split" -accel "tcg,thread=multi" -cpu max -smp 3 -m 1024 -nodefaults -no-reboot
        -display none -serial stdio -device "intel-iommu,intremap=off"
        -kernel "$image" -initrd "$work/initramfs" -append "console=ttyS0 quiet intel_iommu=on panic=-1")
    port "$nic" tap-in 4 "$queues"
    port "$nic" tap-out 5 "$queues"

    # Newer versions of qemu let the host's kernel steer by an eBPF program, which puts these packets into queue 0;
    # without the capabilities for that the device model computes the hash itself.
    coproc guest { exec "${inside[@]}" setpriv --bounding-set=-bpf,-perfmon,-sys_admin qemu-system-x86_64 "${arguments[@]}" 2>&1; }
    await "guest: ready" || die "$nic: the gateway did not start"
    in_background "${inside[@]}" timeout 60 "$programs/nat-trafficgen" load --no-huge --flows "$FLOWS" --rate 4000 --warmup-rate 2000 --runs 1 --seconds 4 \
        --inside net_af_packet0,iface=tap-in --outside net_af_packet1,iface=tap-out --json "$work/figures" >"$work/load" 2>&1 ||
        { cat "$work/load" && die "$nic: the generator failed"; }
    echo metrics >&"${guest[1]}"
    await "guest: end of metrics" || die "$nic: no metrics"
    echo quit >&"${guest[1]}"
    await "guest: exit code" || die "$nic: the gateway did not end"
    wait "$guest_PID" 2>/dev/null || true
    [[ -z $log ]] || cp "$work/said" "$log/$nic"

    read -r sent lost wrong < <(jq -r '.runs[0] | "\(.sent) \(.lost) \(.wrong)"' "$work/figures")
    for worker in 0 1; do workers+=("$(metric natgw_translated_packets_total "worker=\"$worker\"")"); done
    handed_over=$(metric natgw_handoff_packets_total 'event="sent"')
    steering=$(sed 's/\x1b\[[0-9]*m//g' "$work/said" | sed -n 's/.*steering=//p' | head -n 1)
    printf '%-11s %6d packets sent, %d lost, %d wrong; worker 0 translated %d, worker 1 %d; %d handed over; steering %s\n' "$nic" \
        "$sent" "$lost" "$wrong" "${workers[@]}" "$handed_over" "$steering"
    # A busy machine takes the guest's CPUs away for longer than its queues last: some loss is no fault of the drivers.
    expect "$sent > $FLOWS && $lost * 4 <= $sent && $wrong == 0"
    expect "${workers[0]} * 4 > $sent - $lost && ${workers[1]} * 4 > $sent - $lost"
    if [[ $nic == virtio-net ]]; then
        expect "$handed_over == 0"
        [[ $steering == *"in hardware"* ]] || failures+=("not steered in hardware")
    else
        expect "$handed_over > 0"
    fi
    grep -q '^guest: bind-nic.sh ended with 0' "$work/said" || failures+=("bind-nic.sh")
    grep -q '^guest: exit code 0' "$work/said" || failures+=("the gateway's exit code")
    if ((${#failures[@]})); then
        say "$nic: failed: $(printf '%s; ' "${failures[@]}")"
        ((++failed))
    fi
    ip netns del "$namespace"
    rm -rf "$work"
}

scripts/setup.sh
if [[ -z $programs ]]; then
    cargo build --quiet --workspace --bins
    programs=${CARGO_TARGET_DIR:-target}/debug
fi
kernel=target/guest/kernel failed=0
setup_kernel "$kernel"
image=$(compgen -G "$kernel/boot/vmlinuz-*" | tail -n 1)
initramfs=$(mktemp -d)
trap end_guest EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
[[ -z $log ]] || mkdir -p "$log"
make_initramfs "$initramfs" "$kernel"
for nic in "${nics[@]}"; do try "$nic"; done
((failed == 0)) || die "$failed of ${#nics[@]} NICs failed"

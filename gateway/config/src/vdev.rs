//! What the drivers of DPDK's virtual devices take: arguments, frames, a MAC address.
//!
//! DPDK tells of a wrong argument only that the device cannot be probed, or ignores it (net_tap a second `iface`), and
//! that only when the gateway starts. The table is from the drivers' sources, DPDK 22.11 to 25.11 (`valid_arguments` of
//! each, its `dev_infos_get` and, in lib/ethdev, `rte_eth_dev_configure`). Of a driver that is not in it nothing is known
//! and nothing refused.

use super::diagnostic::At;
use super::table_reader::Section;
use super::unique::Unique;
use super::value;
use natgw_wire::ethernet::Mac;

/// What is known of a driver.
struct Driver {
    /// A device's name begins with it.
    name: &'static str,
    /// Every argument of any version.
    arguments: &'static [&'static str],
    /// Those without which it makes no device.
    required: &'static [&'static str],
    /// Those that may stand several times.
    repeated: &'static [&'static str],
    /// The largest MTU of any version.
    mtu_max: u16,
    /// The largest MTU of DPDK 22.11, where later versions take more, and the first of these.
    mtu_before: Option<(u16, &'static str)>,
}

/// Larger than any interface's.
const ANY_MTU: u16 = u16::MAX;
/// Frames of 1518 octets (`RTE_ETHER_MAX_LEN`), less 18 for header and frame check sequence.
const MTU_OF_ETHERNET: u16 = 1500;
/// A page of 4 KiB without the headers of mempool, buffer and XDP, the headroom, and 18 as above. Where pages are larger
/// nothing is known.
const MTU_OF_A_PAGE: u16 =
    if cfg!(target_arch = "x86_64") { 4096 - 24 - 128 - 128 - 256 - 18 } else { ANY_MTU };

const DRIVERS: &[Driver] = &[
    Driver {
        name: "net_tap",
        arguments: &["iface", "mac", "persist", "remote"],
        required: &[],
        repeated: &[],
        mtu_max: ANY_MTU,
        // Frames of 1522 octets, less 18.
        mtu_before: Some((1504, "23.03")),
    },
    Driver {
        name: "net_af_packet",
        arguments: &["iface", "qpairs", "blocksz", "framesz", "framecnt", "qdisc_bypass", "fanout_mode"],
        required: &["iface"],
        repeated: &[],
        mtu_max: MTU_OF_ETHERNET,
        mtu_before: None,
    },
    Driver {
        name: "net_af_xdp",
        arguments: &[
            "iface",
            "start_queue",
            "queue_count",
            "shared_umem",
            "xdp_prog",
            "busy_budget",
            "force_copy",
            "use_cni",
            "use_pinned_map",
            "dp_path",
            "mode",
        ],
        required: &["iface"],
        repeated: &[],
        mtu_max: MTU_OF_A_PAGE,
        mtu_before: None,
    },
    Driver {
        name: "net_memif",
        arguments: &[
            "id",
            "role",
            "bsize",
            "rsize",
            "socket",
            "socket-abstract",
            "owner-uid",
            "owner-gid",
            "mac",
            "zero-copy",
            "secret",
        ],
        required: &[],
        repeated: &[],
        mtu_max: MTU_OF_ETHERNET,
        mtu_before: None,
    },
    Driver {
        name: "net_ring",
        arguments: &["nodeaction", "internal"],
        required: &[],
        repeated: &["nodeaction"],
        mtu_max: ANY_MTU,
        mtu_before: None,
    },
    Driver {
        name: "net_null",
        arguments: &["size", "copy", "no-rx"],
        required: &[],
        repeated: &[],
        mtu_max: ANY_MTU,
        mtu_before: None,
    },
    Driver {
        name: "net_pcap",
        arguments: &[
            "rx_pcap",
            "tx_pcap",
            "rx_iface",
            "rx_iface_in",
            "tx_iface",
            "iface",
            "phy_mac",
            "infinite_rx",
        ],
        required: &[],
        repeated: &["rx_pcap", "tx_pcap", "rx_iface", "rx_iface_in", "tx_iface"],
        mtu_max: ANY_MTU,
        mtu_before: None,
    },
    Driver {
        name: "net_virtio_user",
        arguments: &[
            "queues",
            "cq",
            "mac",
            "path",
            "queue_size",
            "iface",
            "server",
            "mrg_rxbuf",
            "in_order",
            "packed_vq",
            "speed",
            "vectorized",
        ],
        required: &["path"],
        repeated: &[],
        mtu_max: ANY_MTU,
        mtu_before: None,
    },
    Driver {
        name: "net_bonding",
        // "slave" until 23.07, "member" from 23.11 on.
        arguments: &[
            "member",
            "slave",
            "primary",
            "mode",
            "xmit_policy",
            "socket_id",
            "mac",
            "agg_mode",
            "driver",
        ],
        required: &["mode"],
        repeated: &["member", "slave"],
        mtu_max: ANY_MTU,
        mtu_before: None,
    },
    Driver {
        name: "net_vhost",
        arguments: &[
            "iface",
            "queues",
            "client",
            "iommu-support",
            "postcopy-support",
            "tso",
            "linear-buffer",
            "ext-buffer",
            "legacy-ol-flags",
        ],
        required: &["iface"],
        repeated: &[],
        mtu_max: ANY_MTU,
        mtu_before: None,
    },
];

/// A vdev as the file writes it: `net_tap0,iface=tap-in`.
#[derive(Clone, Copy)]
pub(super) struct Vdev<'a>(pub(super) &'a str);

impl<'a> Vdev<'a> {
    fn driver(self) -> Option<&'static Driver> {
        DRIVERS.iter().find(|driver| self.0.starts_with(driver.name))
    }

    /// Its arguments, each with its value; a comma between brackets divides none (`librte_kvargs`).
    fn arguments(self) -> Vec<(&'a str, &'a str)> {
        let mut depth = 0_u32;
        let divides = |c: char| {
            match c {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        };
        let parts = self.0.split(divides).skip(1).filter(|part| !part.is_empty());
        parts.map(|part| part.split_once('=').unwrap_or((part, ""))).collect()
    }

    fn argument(self, key: &str) -> Option<&'a str> {
        self.arguments().into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The text for DPDK, with the MAC address where the driver wants it so: that it has it from the first frame on, and at
    /// all with net_memif.
    pub(super) fn with_mac(self, mac: Option<Mac>) -> String {
        let takes_it = self.driver().is_some_and(|driver| driver.arguments.contains(&"mac"));
        match mac {
            Some(mac) if takes_it && self.argument("mac").is_none() => format!("{},mac={mac}", self.0),
            _ => self.0.to_owned(),
        }
    }
}

/// Refuses arguments that the driver does not have, and those that lack.
pub(super) fn refuse_arguments(section: &Section<'_>, line: usize, vdev: Vdev<'_>, mac: Option<&At<Mac>>) {
    let Some(driver) = vdev.driver() else { return };
    let arguments = vdev.arguments();
    let wrong = |found: &str, allowed: String| section.wrong(line, "device", value::quote(found), allowed);
    for (nth, (key, value)) in arguments.iter().enumerate() {
        if !driver.arguments.contains(key) {
            wrong(key, format!("of {}: {}", driver.name, value::nearest_of(key, driver.arguments)));
        } else if !driver.repeated.contains(key) && arguments[..nth].iter().any(|(other, _)| other == key) {
            wrong(&format!("{key}={value}"), format!("{key} once: of {} the first counts", driver.name));
        } else if *key == "iface" && !is_path(driver) && !is_device_name(value) {
            wrong(value, "as iface a network device's name of 1 to 15 characters".to_owned());
        }
    }
    for key in driver.required.iter().filter(|key| vdev.argument(key).is_none()) {
        wrong(vdev.0, format!("{} with {key}=, without which it makes no device", driver.name));
    }
    let own = vdev.argument("mac").filter(|_| driver.arguments.contains(&"mac"));
    if let (Some(mac), Some(own)) = (mac, own)
        && !own.parse().is_ok_and(|own: Mac| own == mac.value)
    {
        let allowed = format!("either it or mac={own} in device (line {line})");
        section.wrong(mac.line, "mac", mac.value, allowed);
    }
}

/// Refuses what two devices of one gateway cannot have both: a network device of the kernel, a socket with its number.
pub(super) fn claim(section: &Section<'_>, line: usize, vdev: Vdev<'_>, taken: &mut Unique) {
    let Some(driver) = vdev.driver() else { return };
    let of = |key, default| vdev.argument(key).unwrap_or(default);
    let what = match (driver.name, vdev.argument("iface")) {
        ("net_memif", _) => {
            let (socket, id) = (of("socket", "/run/memif.sock"), of("id", "0"));
            format!("socket={socket},id={id},role={}", of("role", "client"))
        }
        // Ports may share a network device's queues.
        ("net_af_xdp", Some(iface)) if of("start_queue", "0") != "0" => {
            format!("iface={iface},start_queue={}", of("start_queue", "0"))
        }
        (_, Some(iface)) => format!("iface={iface}"),
        (_, None) => return,
    };
    taken.claim(section, "device", line, what);
}

/// Refuses an MTU that no version of the driver takes, and warns of one that only later ones do.
pub(super) fn check_mtu(section: &Section<'_>, vdev: Vdev<'_>, mtu: &At<u16>) {
    let Some(driver) = vdev.driver() else { return };
    let Driver { name, mtu_max, .. } = driver;
    if mtu.value > *mtu_max {
        section.wrong(
            mtu.line,
            "mtu",
            mtu.value,
            format_args!("at most {mtu_max}, which is what {name} takes"),
        );
    } else if let Some((most, version)) = driver.mtu_before.filter(|(most, _)| mtu.value > *most) {
        let advice = format!("at most {most} with DPDK before {version}, whose {name} takes no more");
        section.report().warn(mtu.line, &section.path("mtu"), mtu.value, advice);
    }
}

/// Whose `iface` is the path of a socket.
fn is_path(driver: &Driver) -> bool {
    driver.name == "net_vhost"
}

/// As the kernel has it (`dev_valid_name`).
fn is_device_name(name: &str) -> bool {
    let is_wrong = |c: char| c == '/' || c == ':' || c.is_whitespace();
    (1..16).contains(&name.len()) && !name.contains(is_wrong) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_divided_as_dpdk_does() {
        let vdev = Vdev("net_bonding0,mode=2,member=[0000:02:00.0,1],,persist,mac=a=b");
        let expected = [("mode", "2"), ("member", "[0000:02:00.0,1]"), ("persist", ""), ("mac", "a=b")];
        assert_eq!(vdev.arguments(), expected);
        assert_eq!(Vdev("net_tap0").arguments(), []);
    }

    #[test]
    fn a_mac_address_becomes_an_argument_where_the_driver_has_one() {
        let mac = Some(Mac([2, 0, 0, 0, 0, 7]));
        let with = |text, mac| Vdev(text).with_mac(mac);
        for text in ["net_tap0", "net_memif0,role=client", "net_virtio_user0,path=/run/s"] {
            assert_eq!(with(text, mac), format!("{text},mac=02:00:00:00:00:07"));
            assert_eq!(with(text, None), text);
        }
        let fixed = "net_tap0,mac=02:00:00:00:00:07";
        assert_eq!(with(fixed, mac), fixed);
        assert_eq!(with("net_af_packet0,iface=eth0", mac), "net_af_packet0,iface=eth0");
    }
}

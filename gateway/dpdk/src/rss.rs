//! Receive-side scaling: which queue the NIC puts a frame into.
//!
//! The gateway wants the Toeplitz hash over the plain IPv4 address pair with a key and a redirection table of its own.
//! What a driver says is not believed at once: key and table are read back, and drivers known to accept anything are
//! told apart. Whether frames really land where they should only frames can show; that is why a frame in the wrong
//! queue is handed over and counted.

use std::fmt;

use dpdk_sys::{rte_eth_rss_conf, rte_eth_rss_reta_entry64};

use super::device::{Device, PortInfo};
use super::error::check;
use super::{Error, log};

/// How frames are to be distributed over the receive queues, by a hash of source and destination address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RssConfig {
    /// The Toeplitz key, of [`PortInfo::rss_key_size`] bytes.
    pub key: Vec<u8>,
    /// A queue for each of the [`PortInfo::reta_size`] lowest values of the hash.
    pub reta: Vec<u16>,
}

/// What became of an [`RssConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RssReport {
    /// Not asked for, or there is one receive queue only.
    Unneeded,
    /// The NIC has accepted key and table, and gives them back.
    Hardware,
    /// The NIC cannot; frames arrive in any queue.
    Software {
        /// Why, in words for the log.
        reason: String,
    },
}

impl RssReport {
    /// True if the NIC distributes as asked.
    pub fn is_hardware(&self) -> bool {
        *self == RssReport::Hardware
    }
}

impl fmt::Display for RssReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RssReport::Unneeded => f.write_str("not needed"),
            RssReport::Hardware => f.write_str("in hardware"),
            RssReport::Software { reason } => write!(f, "in software: {reason}"),
        }
    }
}

/// The Toeplitz hash of `tuple`, words in host order, as a NIC computes it. Bits that reach beyond `key` count as 0.
pub fn softrss(tuple: &[u32], key: &[u8]) -> u32 {
    let mut padded = vec![0; 4 * (tuple.len() + 1)];
    let known = key.len().min(padded.len());
    padded[..known].copy_from_slice(&key[..known]);
    // SAFETY: the key has the 4 * (words + 1) bytes that the shim reads, of any alignment; both outlive the call.
    unsafe { dpdk_sys::shim_softrss(tuple.as_ptr(), tuple.len() as u32, padded.as_ptr()) }
}

/// Why this device cannot do what `wanted` asks, from what it says about itself.
pub(super) fn objection(wanted: &RssConfig, info: &PortInfo) -> Option<String> {
    let driver = &info.driver;
    if driver == "net_null" {
        // It keeps what it is told and puts every frame into every queue.
        return Some("net_null accepts any key and table and distributes nothing".into());
    }
    if info.rss_offloads == 0 {
        return Some(format!("{driver} offers no RSS"));
    }
    if !info.rss_by_addresses() {
        return Some(format!(
            "{driver} offers no hash over the plain IPv4 addresses (only {:#x})",
            info.rss_offloads
        ));
    }
    if info.reta_size == 0 {
        return Some(format!("{driver} offers no redirection table"));
    }
    if wanted.reta.len() != usize::from(info.reta_size) {
        return Some(format!("{driver} has a table of {}, not {}", info.reta_size, wanted.reta.len()));
    }
    if wanted.key.len() != usize::from(info.rss_key_size) {
        return Some(format!(
            "{driver} takes a key of {} bytes, not {}",
            info.rss_key_size,
            wanted.key.len()
        ));
    }
    None
}

/// Writes the redirection table to the started device and reads it and the key back. The error is the reason.
pub(super) fn program(device: &Device, wanted: &RssConfig) -> Result<(), String> {
    write_table(device, &wanted.reta).map_err(|error| error.to_string())?;
    match read_table(device, wanted.reta.len()) {
        Ok(table) if table != wanted.reta => return Err("the driver keeps another redirection table".into()),
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the redirection table cannot be read back"),
    }
    log::forget();
    match read_key(device, wanted.key.len()) {
        Ok((_, types)) if !is_by_addresses(types) => {
            Err(format!("the driver hashes {types:#x}, more or less than the IPv4 addresses"))
        }
        Ok((key, _)) if key != wanted.key => Err("the driver keeps another key".into()),
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::debug!(%error, "the RSS key cannot be read back");
            Ok(())
        }
    }
}

/// True if a driver that hashes these types hashes IPv4 packets by their addresses alone. Of a device that knows one type for
/// all of IPv4 (virtio) drivers report the types for fragments and for protocols without ports beside it.
fn is_by_addresses(types: u64) -> bool {
    const SAME: u64 = dpdk_sys::ETH_RSS_FRAG_IPV4 | dpdk_sys::ETH_RSS_NONFRAG_IPV4_OTHER;
    types & !SAME == dpdk_sys::ETH_RSS_IPV4
}

const GROUP: usize = dpdk_sys::RTE_ETH_RETA_GROUP_SIZE as usize;

fn groups(size: usize) -> Vec<rte_eth_rss_reta_entry64> {
    let group = |first: usize| {
        let entries = (size - first).min(GROUP);
        rte_eth_rss_reta_entry64 { mask: u64::MAX >> (GROUP - entries), ..Default::default() }
    };
    (0..size).step_by(GROUP).map(group).collect()
}

fn write_table(device: &Device, table: &[u16]) -> Result<(), Error> {
    let mut groups = groups(table.len());
    for (group, entries) in groups.iter_mut().zip(table.chunks(GROUP)) {
        group.reta[..entries.len()].copy_from_slice(entries);
    }
    // SAFETY: the port is open; the groups cover `table.len()` entries, and DPDK only reads them.
    let result = unsafe {
        dpdk_sys::rte_eth_dev_rss_reta_update(device.id(), groups.as_mut_ptr(), table.len() as u16)
    };
    check("rte_eth_dev_rss_reta_update", result, || device.context()).map(drop)
}

fn read_table(device: &Device, size: usize) -> Result<Vec<u16>, Error> {
    let mut groups = groups(size);
    // SAFETY: the port is open; the groups have room for `size` entries.
    let result =
        unsafe { dpdk_sys::rte_eth_dev_rss_reta_query(device.id(), groups.as_mut_ptr(), size as u16) };
    check("rte_eth_dev_rss_reta_query", result, || device.context())?;
    Ok(groups.iter().flat_map(|group| group.reta).take(size).collect())
}

fn read_key(device: &Device, size: usize) -> Result<(Vec<u8>, u64), Error> {
    let mut key = vec![0; size];
    let mut conf =
        rte_eth_rss_conf { rss_key: key.as_mut_ptr(), rss_key_len: size as u8, ..Default::default() };
    // SAFETY: the port is open; `rss_key` has room for `rss_key_len` bytes and outlives the call.
    let result = unsafe { dpdk_sys::rte_eth_dev_rss_hash_conf_get(device.id(), &mut conf) };
    check("rte_eth_dev_rss_hash_conf_get", result, || device.context())?;
    Ok((key, conf.rss_hf))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Microsoft's verification suite for RSS, IPv4 without ports: destination 161.142.100.80, source 66.9.149.187.
    #[test]
    fn matches_the_published_hash() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let source = u32::from_be_bytes([66, 9, 149, 187]);
        let destination = u32::from_be_bytes([161, 142, 100, 80]);
        assert_eq!(softrss(&[source, destination], &key), 0x323e_8fc2);
        assert_eq!(softrss(&[source, destination], &key[1..]), softrss(&[source, destination], &key[1..13]));
        assert_eq!(softrss(&[], &key), 0);
    }

    #[test]
    fn a_hash_over_ports_is_not_one_by_addresses() {
        let plain = dpdk_sys::ETH_RSS_IPV4;
        let virtio = plain | dpdk_sys::ETH_RSS_FRAG_IPV4 | dpdk_sys::ETH_RSS_NONFRAG_IPV4_OTHER;
        assert!(is_by_addresses(plain) && is_by_addresses(virtio));
        for wrong in [0, virtio & !plain, dpdk_sys::ETH_RSS_IPV4_ANY] {
            assert!(!is_by_addresses(wrong), "{wrong:#x}");
        }
    }

    #[test]
    fn a_table_that_ends_within_a_group_is_masked() {
        let groups = groups(65);
        assert_eq!(groups.iter().map(|group| group.mask).collect::<Vec<_>>(), [u64::MAX, 1]);
    }
}

//! The metrics by name: what each counts, its type and its labels. The names are a contract.

use prometheus::proto::MetricType::{self, COUNTER, GAUGE, HISTOGRAM};

/// The prefix of every name.
pub const PREFIX: &str = "natgw_";

/// One metric.
#[derive(Debug)]
pub struct Family {
    /// Name without [`PREFIX`].
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricType,
    /// Label names.
    pub labels: &'static [&'static str],
    /// What it says, one sentence.
    pub help: &'static str,
}

macro_rules! families {
    ($($name:ident: $kind:ident $text:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $name: Family =
            Family { name: $text, kind: $kind, labels: &$labels, help: $help };)*

        /// Every metric, by group.
        pub const ALL: &[Family] = &[$($name),*];
    };
}

families! {
    // Traffic.
    PACKETS: COUNTER "packets_total" ["interface", "direction", "worker"],
        "Packets that workers received and transmitted.";
    BYTES: COUNTER "bytes_total" ["interface", "direction", "worker"],
        "Bytes of Ethernet frames that workers received and transmitted.";
    TRANSLATED: COUNTER "translated_packets_total" ["direction", "protocol", "worker"],
        "Packets translated.";
    DROPPED: COUNTER "dropped_packets_total" ["reason", "direction", "worker"],
        "Packets dropped.";
    CONSUMED: COUNTER "consumed_packets_total" ["worker"],
        "Packets that ended in the gateway itself.";
    GENERATED: COUNTER "generated_packets_total" ["worker"],
        "Packets that began in the gateway itself: ARP requests and announcements, fragments, replies to pings in fragments.";
    HELD: GAUGE "held_packets" ["worker"],
        "Packets that wait for the address of their next hop, for the first fragment of their datagram, or for the rest of a ping.";

    // Sessions.
    SESSIONS: GAUGE "sessions" ["protocol", "worker"],
        "Live sessions.";
    SESSIONS_LIMIT: GAUGE "sessions_limit" [],
        "Sessions that fit.";
    SESSIONS_CREATED: COUNTER "sessions_created_total" [],
        "Sessions made.";
    SESSIONS_DELETED: COUNTER "sessions_deleted_total" ["reason"],
        "Sessions ended.";
    SESSION_FAILURES: COUNTER "session_failures_total" ["reason"],
        "Sessions that could not be made.";
    REDIRECTED: GAUGE "redirected_sessions" [],
        "Live sessions that remotes began, through redirects.";
    MAPPINGS: GAUGE "mappings" [],
        "Mappings in use, and permanent ones.";
    SUBSCRIBERS: GAUGE "subscribers" [],
        "Subscribers with at least one mapping.";
    SUBSCRIBERS_LIMIT: GAUGE "subscribers_limit" [],
        "Subscribers that fit.";

    // Ports.
    POOL_PORTS_USED: GAUGE "pool_ports_used" ["pool", "protocol"],
        "Ports of mappings.";
    POOL_PORTS_HELD: GAUGE "pool_ports_held" ["pool", "protocol"],
        "Freed ports that rest before anyone gets them again.";
    POOL_PORTS: GAUGE "pool_ports" ["pool", "protocol"],
        "Ports in all: used, held and free.";
    POOL_ADDRESSES: GAUGE "pool_addresses" ["pool"],
        "Outside addresses.";
    POOL_BLOCKS_USED: GAUGE "pool_blocks_used" ["pool"],
        "Port blocks with ports of mappings.";
    POOL_BLOCKS_HELD: GAUGE "pool_blocks_held" ["pool"],
        "Port blocks that rest with their subscriber before another gets them.";
    POOL_BLOCKS: GAUGE "pool_blocks" ["pool"],
        "Port blocks in all: used, held and free.";
    BLOCK_RECORDS_LOST: COUNTER "port_block_records_lost_total" [],
        "Port blocks that changed hands without a line in the log: too many at once.";
    PORT_FAILURES: COUNTER "port_allocation_failures_total" ["pool", "reason"],
        "Ports asked for and not given.";

    // Protocols.
    ICMP_GENERATED: COUNTER "icmp_generated_total" ["type"],
        "ICMP messages that the gateway made itself.";
    ICMP_LIMITED: COUNTER "icmp_limited_total" ["kind"],
        "ICMP messages of the gateway's own that their budget did not allow.";
    TCP_RESETS: COUNTER "tcp_resets_total" [],
        "RSTs that the gateway made itself, to inside hosts whose connections have no session or are to the gateway.";
    ICMP_ERRORS: COUNTER "icmp_errors_translated_total" [],
        "ICMP errors translated.";
    UNSOLICITED_SYNS: COUNTER "unsolicited_syns_total" ["event"],
        "Connections from outside that a mapping did not let in.";
    FRAGMENTS: COUNTER "fragments_total" ["event"],
        "Fragments by what happened to them; dropped ones have a reason in dropped_packets_total.";
    FRAGMENTED_DATAGRAMS: GAUGE "fragmented_datagrams" ["state"],
        "Datagrams in fragments that are remembered: waiting for their first one, translated, or settled.";
    HAIRPINNED: COUNTER "hairpinned_packets_total" [],
        "Packets between two inside hosts by way of an outside endpoint.";

    // Workers and hardware.
    BUSY_CYCLES: COUNTER "worker_busy_cycles_total" ["worker"],
        "TSC cycles of rounds that found packets.";
    TSC: GAUGE "tsc_hertz" [],
        "TSC cycles a second: what a worker that is always busy adds to worker_busy_cycles_total.";
    POLLS: COUNTER "worker_polls_total" ["worker"],
        "Rounds of the worker's loop.";
    EMPTY_POLLS: COUNTER "worker_empty_polls_total" ["worker"],
        "Rounds that found no packet.";
    BURST_SIZE: HISTOGRAM "worker_burst_size" ["worker"],
        "Packets a burst, of the bursts that held any.";
    HANDOFF: COUNTER "handoff_packets_total" ["event", "worker"],
        "Packets between workers; full: dropped because the ring was full.";
    CAPTURED: COUNTER "captured_packets_total" ["event", "worker"],
        "Frames that captures asked for; missed: more than the rate allows, or than management took in time.";
    NIC_PACKETS: COUNTER "nic_packets_total" ["interface", "direction"],
        "Packets by the port's own count.";
    NIC_BYTES: COUNTER "nic_bytes_total" ["interface", "direction"],
        "Bytes by the port's own count.";
    NIC_MISSED: COUNTER "nic_missed_total" ["interface"],
        "Packets lost because the receive queues were full.";
    NIC_ERRORS: COUNTER "nic_errors_total" ["interface", "direction"],
        "Broken packets received, and packets that could not be transmitted.";
    NIC_NO_BUFFER: COUNTER "nic_no_buffer_total" ["interface"],
        "Receive buffers that could not be had.";
    LINK_UP: GAUGE "link_up" ["interface"],
        "1 while the link has carrier.";
    LINK_CHANGES: COUNTER "link_changes_total" ["interface", "state"],
        "Times that the link came up and went down; also in the log.";
    MEMPOOL: GAUGE "mempool_buffers" ["pool", "state"],
        "Packet buffers.";

    // Neighbours.
    ADDRESS_CONFLICTS: COUNTER "address_conflicts_total" ["interface"],
        "ARP messages in which another station claims an address of the gateway's.";
    NEIGHBOR_EVENTS: COUNTER "neighbor_events_total" ["event"],
        "Neighbours whose MAC address changed (moved), claims to be one that were not believed (refused), and those without room (full).";
    NEIGHBOR_EVENTS_LOST: COUNTER "neighbor_events_lost_total" ["kind"],
        "What workers did not tell management of neighbours, because the link brought more of it than its budget.";
    NEIGHBOR_COMMANDS_DELAYED: COUNTER "neighbor_commands_delayed_total" [],
        "News of neighbours for workers, and questions for neighbours, that had to wait for room among a worker's commands.";

    // Control.
    CONFIG_GENERATION: GAUGE "config_generation" [],
        "Configurations that have come into force, the first counted.";
    CONFIG_RELOADS: COUNTER "config_reloads_total" ["result"],
        "Requests to reload the configuration.";
    FORWARD_CHANGES: COUNTER "forward_changes_total" ["result"],
        "Requests to add or to delete a port forward while the gateway runs.";
    SWEEP_LINES: GAUGE "reload_sweep_lines" ["worker"],
        "Lines of tables that a change of the configuration has still to be held against; 0 when it is through.";
    READY: GAUGE "ready" [],
        "1 while workers poll, links are up and the routes' gateways are resolved, as /readyz says.";
    DRAINING: GAUGE "draining" [],
        "1 while no session begins, and the gateway ends with the last one.";
    UPTIME: GAUGE "uptime_seconds" [],
        "Time since the workers started.";
    BUILD_INFO: GAUGE "build_info" ["version", "dpdk"],
        "Always 1; the labels say what runs.";
}

//! Reads a gateway's numbers once and files each under its metric.

use super::family::{self as f, Family};
use crate::gateway::{Gateway, WorkerSnapshot};
use natgw_counters::{BurstSizes, EventKind};
use natgw_nat::{
    self, DeleteReason, Direction, DropReason, FragmentEvent, IcmpGenerated, Protocol, SessionFailure,
    UnsolicitedSyn,
};
use natgw_neighbor::AnswerKind;

/// One number, or one histogram, with the values of its metric's labels.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<String>,
    pub(super) value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Histogram(BurstSizes),
}

/// All samples, those of one metric together.
#[derive(Debug, Default)]
pub(super) struct Samples(pub(super) Vec<(&'static Family, Vec<Sample>)>);

impl Samples {
    /// What the gateway says now.
    pub(super) fn of(gateway: &dyn Gateway) -> Samples {
        let workers = gateway.workers();
        let mut samples = Samples::default();
        samples.interfaces(gateway, &workers);
        workers.iter().for_each(|worker| samples.worker(worker));
        samples.shards(&workers);
        samples.pools(gateway);
        samples.control(gateway);
        samples
    }

    fn add(&mut self, family: &'static Family, labels: &[&str], value: u64) {
        self.push(family, labels, Value::Number(value));
    }

    fn push(&mut self, family: &'static Family, labels: &[&str], value: Value) {
        debug_assert_eq!(family.labels.len(), labels.len(), "labels of {}", family.name);
        let sample = Sample { labels: labels.iter().map(ToString::to_string).collect(), value };
        match self.0.iter_mut().find(|(known, _)| known.name == family.name) {
            Some((_, samples)) => samples.push(sample),
            None => self.0.push((family, vec![sample])),
        }
    }

    fn interfaces(&mut self, gateway: &dyn Gateway, workers: &[WorkerSnapshot]) {
        let counted = gateway.control_counts();
        for (index, (interface, nic)) in gateway.interfaces().iter().zip(gateway.nics()).enumerate() {
            let name = interface.name.as_str();
            for worker in workers {
                let Some(packets) = worker.counters.interfaces.get(index) else { continue };
                let id = &worker.worker.to_string();
                self.add(&f::PACKETS, &[name, RX, id], packets.rx_packets);
                self.add(&f::PACKETS, &[name, TX, id], packets.tx_packets);
                self.add(&f::BYTES, &[name, RX, id], packets.rx_bytes);
                self.add(&f::BYTES, &[name, TX, id], packets.tx_bytes);
            }
            self.add(&f::NIC_PACKETS, &[name, RX], nic.stats.rx_packets);
            self.add(&f::NIC_PACKETS, &[name, TX], nic.stats.tx_packets);
            self.add(&f::NIC_BYTES, &[name, RX], nic.stats.rx_bytes);
            self.add(&f::NIC_BYTES, &[name, TX], nic.stats.tx_bytes);
            self.add(&f::NIC_MISSED, &[name], nic.stats.rx_missed);
            self.add(&f::NIC_ERRORS, &[name, RX], nic.stats.rx_errors);
            self.add(&f::NIC_ERRORS, &[name, TX], nic.stats.tx_errors);
            self.add(&f::NIC_NO_BUFFER, &[name], nic.stats.rx_no_buffer);
            self.add(&f::LINK_UP, &[name], nic.link.up.into());
            let changes = counted.links.get(index).copied().unwrap_or_default();
            self.add(&f::LINK_CHANGES, &[name, "up"], changes.ups);
            self.add(&f::LINK_CHANGES, &[name, "down"], changes.downs);
            let conflicts = workers.iter().filter_map(|worker| worker.counters.address_conflicts.get(index));
            self.add(&f::ADDRESS_CONFLICTS, &[name], conflicts.sum());
        }
        self.add(&f::NEIGHBOR_EVENTS, &["moved"], counted.neighbors.moved);
        self.add(&f::NEIGHBOR_EVENTS, &["refused"], counted.neighbors.refused);
        self.add(&f::NEIGHBOR_EVENTS, &["full"], counted.neighbors.full);
        for kind in EventKind::ALL {
            let lost = workers.iter().map(|worker| worker.counters.events_lost[kind as usize]).sum();
            self.add(&f::NEIGHBOR_EVENTS_LOST, &[kind.name()], lost);
        }
        self.add(&f::NEIGHBOR_COMMANDS_DELAYED, &[], counted.delayed);
        for mempool in gateway.mempools() {
            self.add(&f::MEMPOOL, &[&mempool.name, "available"], mempool.available);
            self.add(&f::MEMPOOL, &[&mempool.name, "in_use"], mempool.in_use);
        }
    }

    fn worker(&mut self, worker: &WorkerSnapshot) {
        let id = &worker.worker.to_string();
        let counters = &worker.counters;
        for direction in Direction::ALL {
            for protocol in Protocol::ALL {
                let count = counters.nat.translated[direction as usize][protocol as usize];
                self.add(&f::TRANSLATED, &[direction.name(), protocol.name(), id], count);
            }
            for &reason in DropReason::ALL {
                let count = counters.nat.dropped[reason as usize][direction as usize];
                self.add(&f::DROPPED, &[reason.name(), direction.name(), id], count);
            }
        }
        for protocol in Protocol::ALL {
            self.add(&f::SESSIONS, &[protocol.name(), id], counters.nat.sessions[protocol as usize]);
        }
        self.add(&f::CONSUMED, &[id], counters.consumed);
        self.add(&f::GENERATED, &[id], counters.generated);
        self.add(&f::HELD, &[id], counters.held);
        self.add(&f::SWEEP_LINES, &[id], counters.sweep_lines);
        self.add(&f::BUSY_CYCLES, &[id], counters.busy_cycles);
        self.add(&f::POLLS, &[id], counters.polls);
        self.add(&f::EMPTY_POLLS, &[id], counters.empty_polls);
        self.push(&f::BURST_SIZE, &[id], Value::Histogram(counters.burst_size));
        self.add(&f::HANDOFF, &["sent", id], counters.handoff.sent);
        self.add(&f::HANDOFF, &["received", id], counters.handoff.received);
        self.add(&f::HANDOFF, &["full", id], counters.handoff.full);
        self.add(&f::CAPTURED, &["taken", id], counters.capture.taken);
        self.add(&f::CAPTURED, &["missed", id], counters.capture.missed);
    }

    /// What is of interest over all workers only.
    fn shards(&mut self, workers: &[WorkerSnapshot]) {
        let sum = |count: &dyn Fn(&natgw_nat::Counters) -> u64| {
            workers.iter().map(|w| count(&w.counters.nat)).sum()
        };
        self.add(&f::SESSIONS_CREATED, &[], sum(&|nat| nat.sessions_created.iter().sum()));
        for &reason in DeleteReason::ALL {
            self.add(
                &f::SESSIONS_DELETED,
                &[reason.name()],
                sum(&|nat| nat.sessions_deleted[reason as usize]),
            );
        }
        for &reason in SessionFailure::ALL {
            self.add(
                &f::SESSION_FAILURES,
                &[reason.name()],
                sum(&|nat| nat.session_failures[reason as usize]),
            );
        }
        self.add(&f::REDIRECTED, &[], sum(&|nat| nat.redirected_sessions));
        self.add(&f::MAPPINGS, &[], sum(&|nat| nat.mappings));
        self.add(&f::SUBSCRIBERS, &[], sum(&|nat| nat.subscribers));
        for kind in IcmpGenerated::ALL {
            self.add(&f::ICMP_GENERATED, &[kind.name()], sum(&|nat| nat.icmp_generated[kind as usize]));
        }
        for kind in AnswerKind::ALL {
            let limited = workers.iter().map(|worker| worker.counters.answers_limited[kind as usize]).sum();
            self.add(&f::ICMP_LIMITED, &[kind.name()], limited);
        }
        self.add(&f::TCP_RESETS, &[], sum(&|nat| nat.tcp_resets));
        self.add(&f::ICMP_ERRORS, &[], sum(&|nat| nat.icmp_errors_translated.iter().sum()));
        for &event in UnsolicitedSyn::ALL {
            let count = sum(&|nat| nat.unsolicited_syns[event as usize]);
            self.add(&f::UNSOLICITED_SYNS, &[event.name()], count);
        }
        for &event in FragmentEvent::ALL {
            self.add(&f::FRAGMENTS, &[event.name()], sum(&|nat| nat.fragments[event as usize]));
        }
        for (index, state) in ["waiting", "translated", "settled"].into_iter().enumerate() {
            self.add(&f::FRAGMENTED_DATAGRAMS, &[state], sum(&|nat| nat.fragmented_datagrams[index]));
        }
        self.add(&f::BLOCK_RECORDS_LOST, &[], sum(&|nat| nat.block_records_lost));
        self.add(&f::HAIRPINNED, &[], sum(&|nat| nat.hairpinned));
    }

    fn pools(&mut self, gateway: &dyn Gateway) {
        for pool in gateway.pools() {
            let name = pool.name.as_str();
            self.add(&f::POOL_ADDRESSES, &[name], pool.address_count);
            for usage in &pool.usage {
                let protocol = usage.protocol.name();
                self.add(&f::POOL_PORTS_USED, &[name, protocol], usage.used);
                self.add(&f::POOL_PORTS_HELD, &[name, protocol], usage.held);
                self.add(&f::POOL_PORTS, &[name, protocol], usage.total);
            }
            let blocks = pool.blocks.unwrap_or_default();
            self.add(&f::POOL_BLOCKS_USED, &[name], blocks.used);
            self.add(&f::POOL_BLOCKS_HELD, &[name], blocks.held);
            self.add(&f::POOL_BLOCKS, &[name], blocks.total);
            for failures in &pool.failures {
                self.add(&f::PORT_FAILURES, &[name, &failures.reason], failures.count);
            }
        }
    }

    fn control(&mut self, gateway: &dyn Gateway) {
        let about = gateway.about();
        self.add(&f::SESSIONS_LIMIT, &[], about.sessions_limit);
        self.add(&f::SUBSCRIBERS_LIMIT, &[], about.subscribers_limit);
        self.add(&f::CONFIG_GENERATION, &[], about.config_generation);
        self.add(&f::CONFIG_RELOADS, &["applied"], about.config_reloads.applied);
        self.add(&f::CONFIG_RELOADS, &["refused"], about.config_reloads.refused);
        self.add(&f::FORWARD_CHANGES, &["applied"], about.forward_changes.applied);
        self.add(&f::FORWARD_CHANGES, &["refused"], about.forward_changes.refused);
        self.add(&f::READY, &[], gateway.readiness().ready.into());
        self.add(&f::DRAINING, &[], about.drain.is_some().into());
        self.add(&f::TSC, &[], about.tsc_hz);
        self.add(&f::UPTIME, &[], about.uptime_s);
        self.add(&f::BUILD_INFO, &[&about.version, &about.dpdk], 1);
    }
}

const RX: &str = "rx";
const TX: &str = "tx";

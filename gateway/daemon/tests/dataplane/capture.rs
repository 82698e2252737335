//! Captures: the frames that workers copy; copying costs no packet, no allocation and no wait, and it ends.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nat_gateway::start::engine_time;
use natgw_counters::Published;
use natgw_nat::{DropReason, Endpoint, Filter, Time};
use natgw_neighbor::TokenBucket;
use natgw_wire::ethernet;
use natgw_worker::{CaptureId, Captured, Command, Sides, Tap, TapCounters, Way};

use crate::lab::{Lab, Sent, Setup, Side};
use crate::packet::{Kind, Link, Packet, SYN};

const HOST: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 2);
const REMOTE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 443);

const EVERYTHING: Sides = Sides { inside: true, outside: true, dropped: true };

/// What a test wants captured.
#[derive(Clone, Copy)]
struct Wanted {
    id: u32,
    sides: Sides,
    filter: Filter,
    rate: u32,
    buffers: usize,
    snap_len: usize,
    until: Time,
}

impl Wanted {
    fn of(sides: Sides) -> Wanted {
        let filter = Filter::default();
        Wanted { id: 0, sides, filter, rate: 1_000_000, buffers: 4096, snap_len: 2048, until: Time(u64::MAX) }
    }
}

/// Management's end of a capture.
struct Watch {
    filled: Receiver<Box<Captured>>,
    free: Sender<Box<Captured>>,
    ended: Receiver<Box<Tap>>,
    id: CaptureId,
}

impl Watch {
    fn begin(lab: &Lab, wanted: &Wanted) -> Watch {
        let (free, buffers) = bounded(wanted.buffers);
        let (filled_in, filled) = bounded(wanted.buffers);
        let (ended_in, ended) = bounded(lab.dataplane().workers().len());
        for _ in 0..wanted.buffers {
            free.send(Box::new(Captured::new(wanted.snap_len))).unwrap();
        }
        let id = CaptureId(wanted.id);
        lab.dataplane().tell_all(|| {
            Command::Capture(Box::new(Tap {
                id,
                sides: wanted.sides,
                filter: wanted.filter,
                rate: TokenBucket::new(wanted.rate, wanted.rate, engine_time().0 as u32),
                until: wanted.until,
                free: buffers.clone(),
                filled: filled_in.clone(),
                counters: TapCounters::default(),
                published: Arc::new(Published::new()),
                ended: ended_in.clone(),
            }))
        });
        lab.wait("the workers take their taps", |lab| {
            lab.dataplane().workers().iter().all(|worker| worker.commands.is_empty())
        });
        Watch { filled, free, ended, id }
    }

    /// Frames so far, without their buffers.
    fn taken(&self) -> Vec<Captured> {
        self.filled.try_iter().map(|captured| *captured).collect()
    }

    /// Ends it; what each worker has counted.
    fn end(self, lab: &Lab) -> Vec<TapCounters> {
        lab.dataplane().tell_all(|| Command::EndCapture(self.id));
        let count = lab.dataplane().workers().len();
        let tap =
            |_| self.ended.recv_timeout(Duration::from_secs(5)).expect("each worker gives its tap back");
        (0..count).map(|n| tap(n).counters).collect()
    }
}

fn udp(port: u16) -> Packet {
    Packet::new(Kind::Udp, SocketAddrV4::new(HOST, port), REMOTE, b"to be seen")
}

fn endpoint(address: SocketAddrV4) -> Endpoint {
    Endpoint::new(*address.ip(), address.port())
}

/// Way, interface and the octets.
fn lines(captured: &[Captured]) -> Vec<(Way, u8, &[u8])> {
    captured.iter().map(|one| (one.way, one.interface.0, one.data())).collect()
}

#[test]
fn a_frame_is_shown_as_it_came_and_as_it_leaves_with_its_session() {
    for workers in [1, 2] {
        Setup::new(workers).run(|lab| {
            lab.learn_all([HOST]);
            let watch = Watch::begin(lab, &Wanted::of(EVERYTHING));
            let there = lab.misled(Side::Inside, &udp(4000), 0);
            let out = lab.exchange(vec![there.clone()], 1).remove(0);
            let back = lab.misled(Side::Outside, &out.packet().answer(), 0);
            let home = lab.exchange(vec![back.clone()], 1).remove(0);
            let captured = watch.taken();
            let expected: Vec<(Way, u8, &[u8])> = vec![
                (Way::Received, 0, &there.frame),
                (Way::Sent, 1, &out.frame),
                (Way::Received, 1, &back.frame),
                (Way::Sent, 0, &home.frame),
            ];
            assert_eq!(lines(&captured), expected);
            for one in &captured {
                let session = one.session.expect("also of the frame that begins it");
                let seen = (session.internal, session.external, session.remote);
                let outside = endpoint(out.packet().from);
                assert_eq!(seen, (endpoint(udp(4000).from), outside, endpoint(REMOTE)));
                assert_eq!((one.reason, one.frame_len), (None, one.data().len()));
            }
            let counted = watch.end(lab);
            let taken: u64 = counted.iter().flat_map(|counters| counters.taken).sum();
            let missed: u64 = counted.iter().flat_map(|counters| counters.missed).sum();
            assert_eq!((taken, missed), (4, 0));
            assert_eq!(lab.rest().iter().map(|counters| counters.capture.taken).sum::<u64>(), 4);
        });
    }
}

#[test]
fn dropped_frames_are_shown_with_their_reasons() {
    Setup::new(2).run(|lab| {
        lab.learn_all([HOST]);
        let watch = Watch::begin(lab, &Wanted::of(Sides { dropped: true, ..Sides::default() }));
        let unknown = Packet::new(Kind::Udp, REMOTE, SocketAddrV4::new(crate::lab::POOL, 9999), b"who?");
        let spoofed = Packet { from: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1), ..udp(1) };
        let link = lab.link(Side::Inside, HOST);
        let frames = [
            (Side::Outside, DropReason::NoMapping, lab.frame(Side::Outside, &unknown)),
            (Side::Inside, DropReason::SpoofedInside, link.frame(ethernet::IPV4, &spoofed.octets())),
            (Side::Inside, DropReason::EtherType, link.frame(0x86dd, &[0x60; 60])),
            (
                Side::Inside,
                DropReason::NotForUs,
                Link { dst: link.src, ..link }.frame(ethernet::IPV4, &udp(2).octets()),
            ),
        ];
        for (side, _, frame) in &frames {
            lab.send(&Sent { side: *side, queue: 0, frame: frame.clone() });
        }
        // Nothing of what passes is among them.
        lab.one(Side::Inside, &udp(4000));
        lab.rest();
        let mut captured = watch.taken();
        captured.sort_by_key(|one| frames.iter().position(|(_, reason, _)| Some(*reason) == one.reason));
        let seen: Vec<_> = captured.iter().map(|one| (one.way, one.reason, one.data())).collect();
        let expected = frames.iter().map(|(_, reason, frame)| (Way::Dropped, Some(*reason), &frame[..]));
        assert_eq!(seen, expected.collect::<Vec<_>>());
        watch.end(lab);
    });
}

#[test]
fn a_received_frame_tells_why_it_went_no_further() {
    Setup::new(1).run(|lab| {
        lab.learn_all([HOST]);
        let watch = Watch::begin(lab, &Wanted::of(Sides { outside: true, ..Sides::default() }));
        let unknown = Packet::new(Kind::Tcp(SYN), REMOTE, SocketAddrV4::new(crate::lab::POOL, 9999), b"");
        lab.send_packet(Side::Outside, &unknown);
        lab.rest();
        let captured = watch.taken();
        let seen: Vec<_> = captured.iter().map(|one| (one.way, one.reason)).collect();
        assert_eq!(seen, [(Way::Received, Some(DropReason::NoMapping))]);
        watch.end(lab);
    });
}

/// Each condition alone, in each place where frames can be seen, against traffic of two hosts to two remotes.
#[test]
fn a_filter_asks_for_a_session_on_both_sides() {
    Setup::new(2).run(|lab| {
        let other = Ipv4Addr::new(10, 64, 0, 3);
        lab.learn_all([HOST, other]);
        let far = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 8), 53);
        let packets = [udp(4000), Packet { from: SocketAddrV4::new(other, 5000), to: far, ..udp(0) }];
        let traffic = |lab: &mut Lab| {
            packets.clone().map(|packet| {
                let out = lab.one(Side::Inside, &packet).packet();
                lab.one(Side::Outside, &out.answer());
                out
            })
        };
        let [out, _] = traffic(lab);
        for (nth, filter) in [
            Filter { inside: Some(HOST), ..Filter::default() },
            Filter { outside: Some(*out.from.ip()), port: Some(out.from.port()), ..Filter::default() },
            Filter { remote: Some(*REMOTE.ip()), ..Filter::default() },
            Filter { port: Some(4000), ..Filter::default() },
            Filter { port: Some(443), protocol: Some(natgw_nat::Protocol::Udp), ..Filter::default() },
        ]
        .into_iter()
        .enumerate()
        {
            let watch = Watch::begin(lab, &Wanted { id: nth as u32, filter, ..Wanted::of(EVERYTHING) });
            traffic(lab);
            let captured = watch.taken();
            assert_eq!(captured.len(), 4, "{filter:?}");
            for one in &captured {
                assert_eq!(
                    one.session.map(|session| session.internal),
                    Some(endpoint(packets[0].from)),
                    "{filter:?}"
                );
            }
            watch.end(lab);
        }
        let filter = Filter { protocol: Some(natgw_nat::Protocol::Tcp), ..Filter::default() };
        let watch = Watch::begin(lab, &Wanted { filter, ..Wanted::of(EVERYTHING) });
        traffic(lab);
        assert_eq!(watch.taken().len(), 0);
        watch.end(lab);
    });
}

#[test]
fn a_flood_is_captured_at_the_rate_and_loses_nothing() {
    const FLOOD: usize = 20_000;
    Setup::new(2).run(|lab| {
        lab.learn_all([HOST]);
        let quick = Watch::begin(lab, &Wanted { rate: 50, ..Wanted::of(EVERYTHING) });
        let few = Wanted {
            id: 1,
            buffers: 8,
            snap_len: 60,
            ..Wanted::of(Sides { inside: true, ..Sides::default() })
        };
        let slow = Watch::begin(lab, &few);
        let start = std::time::Instant::now();
        let frames: Vec<Sent> =
            (0..FLOOD).map(|nth| lab.misled(Side::Inside, &udp(1000 + nth as u16 % 500), nth)).collect();
        // Every packet is forwarded, with captures or without.
        lab.exchange(frames, FLOOD);
        lab.rest();
        let seconds = start.elapsed().as_secs_f64() + 1.0;
        let taken = quick.taken();
        assert!((50..=(2.0 * 50.0 * (seconds + 1.0)) as usize).contains(&taken.len()), "{}", taken.len());
        let sum = |counted: &[TapCounters], of: fn(&TapCounters) -> &[u64]| -> u64 {
            counted.iter().flat_map(of).sum()
        };
        let counted = quick.end(lab);
        assert_eq!(sum(&counted, |counters| &counters.taken), taken.len() as u64);
        let all = sum(&counted, |counters| &counters.taken) + sum(&counted, |counters| &counters.missed);
        assert_eq!(all, 2 * FLOOD as u64, "received and sent");
        // No buffer was given back: frames that found none are counted, and no worker waits.
        let kept = slow.taken();
        assert_eq!(kept.len(), 8);
        assert!(kept.iter().all(|one| one.data().len() == 60 || one.data().len() == one.frame_len));
        let counted = slow.end(lab);
        assert_eq!(sum(&counted, |counters| &counters.missed), FLOOD as u64 - 8);
    });
}

#[test]
fn a_capture_ends_by_itself_when_its_time_is_over() {
    Setup::new(2).run(|lab| {
        lab.learn_all([HOST]);
        let until = engine_time().plus_ms(50);
        let watch = Watch::begin(lab, &Wanted { until, ..Wanted::of(EVERYTHING) });
        for _ in 0..2 {
            watch.ended.recv_timeout(Duration::from_secs(5)).expect("the tap comes back");
        }
        lab.one(Side::Inside, &udp(4000));
        assert_eq!(watch.taken().len(), 0);
        drop(watch.free);
    });
}

#[test]
fn a_tap_too_many_comes_back_at_once() {
    Setup::new(1).run(|lab| {
        let wanted = |id| Wanted { id, buffers: 1, ..Wanted::of(EVERYTHING) };
        let watches: Vec<_> =
            (0..natgw_worker::CAPTURES_MAX as u32).map(|id| Watch::begin(lab, &wanted(id))).collect();
        let refused = Watch::begin(lab, &wanted(99));
        refused.ended.recv_timeout(Duration::from_secs(5)).expect("the tap comes back");
        for watch in watches {
            watch.end(lab);
        }
    });
}

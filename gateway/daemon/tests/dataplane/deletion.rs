//! Sessions ended by an operator while others go on.

use std::net::{Ipv4Addr, SocketAddrV4};

use crossbeam_channel::{TryRecvError, bounded};
use natgw_nat::{DeleteReason, Filter, Protocol};
use natgw_worker::{Command, Deleted, Deletion, RequestId};

use crate::lab::{Lab, Sent, Setup, Side};
use crate::packet::{Kind, Packet, SYN};

const HOSTS: u16 = 200;
const PORTS: u16 = 50;

fn host(nth: u16) -> Ipv4Addr {
    let [high, low] = nth.to_be_bytes();
    Ipv4Addr::new(10, 64, 1 + high, low)
}

fn packets(kind: Kind) -> Vec<Packet> {
    let remote = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 443);
    let ports = (0..HOSTS).flat_map(|nth| (0..PORTS).map(move |port| (host(nth), 10_000 + port)));
    ports.map(|(host, port)| Packet::new(kind, SocketAddrV4::new(host, port), remote, b"going on")).collect()
}

fn misled(lab: &Lab, side: Side, packets: &[Packet]) -> Vec<Sent> {
    packets.iter().enumerate().map(|(nth, packet)| lab.misled(side, packet, nth)).collect()
}

#[test]
fn a_deletion_of_10_000_sessions_loses_no_packet_of_others() {
    Setup::new(2).run(|lab| {
        lab.learn_all((0..HOSTS).map(host));
        let connections = packets(Kind::Tcp(SYN));
        lab.exchange(misled(lab, Side::Inside, &connections), connections.len());
        let others: Vec<Packet> = packets(Kind::Udp).into_iter().step_by(40).collect();
        let there = lab.exchange(misled(lab, Side::Inside, &others), others.len());
        let back: Vec<Packet> = there.iter().map(|seen| seen.packet().answer()).collect();

        let (answer, answered) = bounded(2);
        let filter = Filter { protocol: Some(Protocol::Tcp), ..Filter::default() };
        let deletion =
            || Deletion { id: RequestId::next(), filter, from: 0, sessions: 0, answer: answer.clone() };
        lab.dataplane().tell_all(|| Command::Delete(deletion()));
        drop(answer);
        let mut ended = 0;
        loop {
            lab.exchange(misled(lab, Side::Outside, &back), back.len());
            lab.exchange(misled(lab, Side::Inside, &others), others.len());
            match answered.try_recv() {
                Ok(Deleted::All(sessions)) => ended += sessions,
                Ok(Deleted::Refused) => panic!("it is the only request"),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
        }
        assert_eq!(ended, connections.len() as u64);
        let mut left = [0; Protocol::COUNT];
        let mut deleted = 0;
        for counters in lab.rest() {
            Protocol::ALL.iter().for_each(|&of| left[of as usize] += counters.nat.sessions[of as usize]);
            deleted += counters.nat.sessions_deleted[DeleteReason::Deleted as usize];
            assert_eq!(crate::lab::drops(&counters), []);
        }
        assert_eq!(left[Protocol::Tcp as usize], 0);
        assert_eq!(left[Protocol::Udp as usize], others.len() as u64);
        assert_eq!(deleted, ended);
    });
}

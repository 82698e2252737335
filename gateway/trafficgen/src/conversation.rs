//! How flows begin and end: the passes before and after the measured ones.
//!
//! ```text
//! UDP   out ─► (learnt)                            TCP   SYN out ─► (learnt), SYN+ACK in, ACK out
//!                                                        FIN+ACK out, FIN+ACK in, ACK out
//! ```
//! Each step is one pass over all flows, shuffled; what is lost is sent again, slower, as hosts would: of the first step
//! only those flows that the gateway has not let out yet.

use super::Error;
use super::count::Outcome;
use super::flow::{Order, Permutation};
use super::template::Segment;
use super::traffic::{Pass, Side, Traffic};
use natgw_wire::tcp::Flags;

/// One step of a conversation: who speaks, and what.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What it is called.
    pub name: &'static str,
    side: Side,
    segment: Option<Segment>,
}

const fn bare(name: &'static str, side: Side, flags: Flags) -> Step {
    Step { name, side, segment: Some(Segment { flags, data: false }) }
}

const FIN_ACK: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);

const UDP_OPENING: [Step; 1] = [Step { name: "datagram out", side: Side::Inside, segment: None }];
const TCP_OPENING: [Step; 3] = [
    bare("SYN out", Side::Inside, Flags::SYN),
    bare("SYN+ACK in", Side::Outside, Flags(Flags::SYN.0 | Flags::ACK.0)),
    bare("ACK out", Side::Inside, Flags::ACK),
];
const TCP_CLOSING: [Step; 3] = [
    bare("FIN out", Side::Inside, FIN_ACK),
    bare("FIN in", Side::Outside, FIN_ACK),
    bare("last ACK out", Side::Inside, Flags::ACK),
];

/// What establishes a flow.
pub fn opening(is_tcp: bool) -> &'static [Step] {
    if is_tcp { &TCP_OPENING } else { &UDP_OPENING }
}

/// One packet back from the remote.
pub fn responding() -> Step {
    Step { name: "datagram in", side: Side::Outside, segment: None }
}

/// What ends it; nothing ends a flow of UDP.
pub fn closing(is_tcp: bool) -> &'static [Step] {
    if is_tcp { &TCP_CLOSING } else { &[] }
}

/// What an established flow's packets are.
pub fn data(is_tcp: bool) -> Option<Segment> {
    is_tcp.then_some(Segment { flags: Flags::ACK, data: true })
}

impl Step {
    /// A pass in which each flow takes this step once.
    pub fn pass(&self, flows: u32, rate: Option<f64>) -> Pass {
        self.ordered(Order::Once(Permutation::new(flows)), flows, rate)
    }

    fn ordered(&self, order: Order, flows: u32, rate: Option<f64>) -> Pass {
        let mut senders = [None, None];
        senders[self.side as usize] = Some((order, self.segment));
        Pass { senders, flows, rate, seconds: f64::INFINITY, sample: 1024 }
    }
}

/// Takes every flow through `steps`, `rate` packets a second at first.
pub fn run(traffic: &mut Traffic, steps: &[Step], rate: f64) -> Result<(), Error> {
    let flows = traffic.space().flows;
    for (index, step) in steps.iter().enumerate() {
        let mut pass = step.pass(flows, Some(rate));
        for round in 1.. {
            let outcome = traffic.run(&pass);
            let unknown = traffic.unknown();
            // A flow that is known has taken its first step, if not with this packet.
            if unknown.is_empty() && (index == 0 || outcome.received() >= u64::from(flows)) {
                break;
            }
            if round == ROUNDS {
                let (step, unknown, reasons) = (step.name, unknown.len(), reasons(&outcome));
                return Err(Error::Untaught { step, flows, unknown, reasons });
            }
            let slower = Some(rate / f64::from(1u32 << round));
            pass = match index {
                0 => step.ordered(Order::Listed(unknown.into_iter()), flows, slower),
                _ => step.pass(flows, slower),
            };
        }
    }
    Ok(())
}

fn reasons(outcome: &Outcome) -> String {
    let figures = outcome.figures();
    let wrong: Vec<String> =
        figures.faults.iter().map(|(fault, count)| format!(", {count} {fault}")).collect();
    format!("{} sent, {} received, {} lost{}", figures.sent, figures.received, figures.lost, wrong.concat())
}

const ROUNDS: u32 = 6;

//! What a pass has sent, got back, and got back wrong.

use serde::Serialize;

use super::latency::Quantiles;
use super::verify::Fault;

/// The packets that one side sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SideCount {
    /// Frames that the port took.
    pub sent: u64,
    /// Frames that came back as they should.
    pub received: u64,
    /// Those of them that told a flow's outside endpoint.
    pub learnt: u64,
    /// Right, but of an earlier pass.
    pub late: u64,
    faults: [u64; Fault::ALL.len()],
    /// The first wrong frame, to be looked at.
    pub example: Option<(Fault, [u8; 60])>,
}

impl SideCount {
    pub(super) fn fault(&mut self, fault: Fault, frame: &[u8]) {
        self.faults[fault as usize] += 1;
        let mut head = [0; 60];
        let len = frame.len().min(head.len());
        head[..len].copy_from_slice(&frame[..len]);
        self.example.get_or_insert((fault, head));
    }

    /// Frames that came back wrong, by what is wrong.
    pub fn faults(&self) -> impl Iterator<Item = (Fault, u64)> {
        Fault::ALL.into_iter().zip(self.faults).filter(|(_, count)| *count > 0)
    }
}

/// A pass, counted.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the first packet to the last.
    pub seconds: f64,
    /// By the side that sent.
    pub sides: [SideCount; 2],
    /// Frames that were back when the last was sent; the rest came in the time after.
    pub in_time: [u64; 2],
    /// Packets that the pace left out.
    pub missed: u64,
    /// Of sampled packets.
    pub latency: Option<Quantiles>,
}

/// An outcome in figures, as it is saved.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Figures {
    pub step: &'static str,
    pub seconds: f64,
    pub sent: u64,
    pub received: u64,
    pub lost: u64,
    pub wrong: u64,
    pub faults: Vec<(&'static str, u64)>,
    pub late: u64,
    pub missed: u64,
    pub sent_mpps: f64,
    pub received_mpps: f64,
    pub outbound_mpps: f64,
    pub inbound_mpps: f64,
    pub latency: Option<Quantiles>,
}

impl Outcome {
    /// Frames sent.
    pub fn sent(&self) -> u64 {
        self.sides.iter().map(|side| side.sent).sum()
    }

    /// Frames that came back right.
    pub fn received(&self) -> u64 {
        self.sides.iter().map(|side| side.received).sum()
    }

    /// Frames that came back wrong.
    pub fn wrong(&self) -> u64 {
        self.sides.iter().flat_map(|side| side.faults).sum()
    }

    /// The outcome in figures.
    pub fn figures(&self) -> Figures {
        let mpps = |packets: u64| packets as f64 / self.seconds / 1e6;
        let (sent, received, wrong) = (self.sent(), self.received(), self.wrong());
        Figures {
            step: "",
            seconds: self.seconds,
            sent,
            received,
            lost: sent.saturating_sub(received + wrong),
            wrong,
            faults: self
                .sides
                .iter()
                .flat_map(SideCount::faults)
                .map(|(fault, count)| (fault.name(), count))
                .collect(),
            late: self.sides.iter().map(|side| side.late).sum(),
            missed: self.missed,
            sent_mpps: mpps(sent),
            received_mpps: mpps(self.in_time.iter().sum()),
            outbound_mpps: mpps(self.in_time[0]),
            inbound_mpps: mpps(self.in_time[1]),
            latency: self.latency.clone(),
        }
    }
}

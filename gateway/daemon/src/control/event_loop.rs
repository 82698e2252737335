//! The main lcore's loop: signals, the workers' events, and what is due without either.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;

use super::control_plane::ControlPlane;
use super::lock::lock;
use super::neighbors::NeighborControl;
use super::state::State;
use crate::service::Watchdog;
use crate::signals::Signal;
use crate::start::Dataplane;
use natgw_management::{Gateway, Until};
use natgw_worker::Event;

/// Does what is asked by signals and events until the gateway is to end: by a signal, or drained.
pub(crate) fn run(control: &Arc<ControlPlane>, signals: &Receiver<Signal>) {
    let state = &control.state;
    let Some(events) = state.with(|dataplane| dataplane.events.clone()) else { return };
    let mut watchdog = Watchdog::new();
    state.with_neighbors(|neighbors, dataplane| neighbors.begin(dataplane));
    loop {
        crossbeam_channel::select! {
            recv(signals) -> signal => match signal {
                Ok(Signal::Reload) => reload_aside(control),
                Ok(Signal::Stop) | Err(_) => return,
            },
            recv(events.woken()) -> woken => if woken.is_err() {
                return;
            },
            default(LOOP_EVERY) => {}
        }
        // As many from each queue in turn, so that none waits for a long one.
        for _ in 0..EVENT_ROUNDS {
            let mut is_more = false;
            state.with_neighbors(|neighbors, dataplane| {
                is_more = events.take(EVENTS_AT_ONCE, |event| take(event, state, neighbors, dataplane));
            });
            if !is_more {
                break;
            }
        }
        state.with_neighbors(|neighbors, dataplane| {
            neighbors.poll(dataplane);
            watchdog.poll(dataplane);
        });
        control.configuration.settle_aside(state);
        if control.drains.is_drained(state) {
            return;
        }
    }
}

/// Gives an event to the part that it is for.
fn take(event: Event, state: &State, neighbors: &mut NeighborControl, dataplane: &Dataplane) {
    match event {
        Event::Learned(binding, learn) => neighbors.learned(binding, learn, dataplane),
        Event::Needed(interface, ip) => neighbors.needed(interface, ip, dataplane),
        Event::Conflict(claim) => neighbors.conflict(claim, dataplane),
        Event::PortBlock(record) => lock(&state.block_leases).record(&record, &state.config()),
        event => tracing::warn!(?event, "a worker sent an event that nothing here takes"),
    }
}

/// Reloads as asked by a signal: the loop goes on meanwhile, and the log tells what became of it.
fn reload_aside(control: &Arc<ControlPlane>) {
    let control = Arc::clone(control);
    let reload = move || drop(control.reload(Until::Swept));
    if let Err(error) = std::thread::Builder::new().name("reload".into()).spawn(reload) {
        tracing::error!(%error, "the configuration stays as it is");
    }
}

/// How often timers are looked after when nothing happens.
const LOOP_EVERY: Duration = Duration::from_millis(50);
/// Events taken of one queue in one step, and steps before timers are looked at.
const EVENTS_AT_ONCE: usize = 64;
const EVENT_ROUNDS: usize = 8;

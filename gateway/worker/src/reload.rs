//! A new configuration on its way into force in a worker: first it is put in force, step by step between bursts, as far as it
//! was nobody's before; then the worker looks through its tables, and ends what the configuration does not allow any more;
//! when all workers have, the rest is put in force. One at a time.

use crossbeam_channel::Sender;

use super::Worker;
use super::io::Io;
use super::message::{ConfigUpdate, Ended, Progress};
use natgw_nat::{DeleteReason, Sweep};

/// Lines looked at in a piece.
const SWEPT_LINES: u32 = 16;

/// See the module.
pub(super) struct Reload {
    /// What is put in force; afterwards, what was in force before.
    adoption: Box<ConfigUpdate>,
    /// Where management hears of it.
    progress: Sender<Progress>,
    stage: Stage,
    ended: Ended,
}

/// How far it is.
#[derive(Clone, Copy)]
pub(super) enum Stage {
    Adopting,
    Sweeping(Sweep),
    Enforcing,
}

impl Reload {
    /// Where the sweep stands, or will begin; `None` when it is over.
    fn sweep(&self) -> Option<Sweep> {
        match self.stage {
            Stage::Adopting => Some(Sweep::START),
            Stage::Sweeping(sweep) => Some(sweep),
            Stage::Enforcing => None,
        }
    }
}

impl<I: Io> Worker<I> {
    pub(super) fn begin_reload(
        &mut self,
        adoption: Box<ConfigUpdate>,
        progress: Sender<Progress>,
        stage: Stage,
    ) {
        if self.reload.is_some() {
            drop(progress.try_send(Progress::Refused(adoption)));
            return;
        }
        self.reload = Some(Reload { adoption, progress, stage, ended: Ended::default() });
    }

    /// Takes a step.
    pub(super) fn go_on_with_reload(&mut self) {
        let Some(mut reload) = self.reload.take() else { return };
        let next = match reload.stage {
            Stage::Adopting => Some(self.adopt(&mut reload)),
            Stage::Sweeping(sweep) => self.sweep(sweep, &mut reload.ended),
            Stage::Enforcing if !self.shard.enforce(&mut reload.adoption.changes) => Some(Stage::Enforcing),
            Stage::Enforcing => None,
        };
        if let Some(stage) = next {
            self.reload = Some(Reload { stage, ..reload });
            return;
        }
        // The counters are as of then. Management may have given up; it keeps the channel.
        self.publish();
        drop(reload.progress.try_send(Progress::Through(reload.adoption, reload.ended)));
    }

    fn adopt(&mut self, reload: &mut Reload) -> Stage {
        let adoption = &mut reload.adoption;
        if !self.shard.adopt(&mut adoption.changes) {
            return Stage::Adopting;
        }
        std::mem::swap(&mut self.routes, &mut adoption.routes);
        // Sessions ask for their ways anew.
        self.hops.invalidate();
        for (interface, own) in self.interfaces.iter_mut().zip(&mut adoption.own) {
            std::mem::swap(&mut interface.own, own);
        }
        std::mem::swap(&mut self.pools, &mut adoption.pools);
        drop(reload.progress.try_send(Progress::InForce));
        Stage::Sweeping(Sweep::START)
    }

    /// Only the sweep ends anything meanwhile, so that the difference is what it has ended.
    fn sweep(&mut self, from: Sweep, ended: &mut Ended) -> Option<Stage> {
        let before = self.live();
        let next = self.shard.sweep(from, SWEPT_LINES, self.now);
        let after = self.live();
        ended.sessions += after.sessions.wrapping_sub(before.sessions);
        ended.mappings += before.mappings.saturating_sub(after.mappings);
        next.map(Stage::Sweeping)
    }

    /// Sessions that reloads have ended so far, and mappings that there are.
    fn live(&mut self) -> Ended {
        let counters = self.shard.counters();
        let sessions = counters.sessions_deleted[DeleteReason::Reload as usize];
        Ended { sessions, mappings: counters.mappings }
    }

    /// Lines that a sweep has still to look at.
    pub(super) fn lines_to_sweep(&self) -> u64 {
        let sweep = self.reload.as_ref().and_then(Reload::sweep);
        sweep.map_or(0, |sweep| self.shard.left_to_sweep(sweep))
    }
}

//! Who has outside ports to itself: what the configuration says, and what workers have told.

use super::lock::lock;
use super::state::State;
use natgw_api::types::{Holder, Whose};
use natgw_management::convert;

impl State {
    /// As [`natgw_management::Gateway::whose`].
    pub(super) fn whose(&self, whose: Whose) -> Vec<Holder> {
        let config = self.config();
        let deterministic = convert::holdings(&config, whose);
        let blocks = lock(&self.block_leases).holdings(whose, &config);
        let deterministic = deterministic.iter().map(|holding| convert::holder(holding, "deterministic"));
        deterministic.chain(blocks.iter().map(|holding| convert::holder(holding, "block"))).collect()
    }
}

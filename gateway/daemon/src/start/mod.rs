//! From a configuration to packets that move.
//!
//! ```text
//! sockets ─► EAL ─► ports ─► steering ─► buffers, rings ─► shards ─► workers
//! ```
//!
//! What can fail is tried before the first packet moves, and fails with one sentence that says what to do. What was started is
//! undone in the reverse order, when it is dropped.

mod dataplane;
pub(crate) mod dpdk_io;
mod error;
pub mod machine;
pub(crate) mod plan;
pub(crate) mod table_memory;

pub use dataplane::{Dataplane, DataplaneOptions, OpenPort, PortOptions, WorkerHandle};
pub use dpdk_io::engine_time;
pub use error::StartError;
use natgw_config::Config;
use natgw_dpdk::Eal;
use natgw_management::Server;

/// Starts what the configuration says: packets move from here on. The server's sockets are bound, and the server does not answer yet.
///
/// # Errors
/// The first thing that fails; what was started is stopped.
pub(crate) fn start(config: &Config) -> Result<(Server, Eal, Dataplane), StartError> {
    let management = &config.management;
    let server = Server::bind(Some(management.listen), Some(&management.socket))?;
    let eal = Eal::init(&plan::eal_args(config))?;
    let options = plan::dataplane(config, &eal)?;
    let dataplane = Dataplane::start(&eal, options)?;
    Ok((server, eal, dataplane))
}

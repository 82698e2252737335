//! A gateway's life: started, controlled until it is to end, and stopped.

use std::path::Path;
use std::sync::Arc;

use crate::control::{ControlPlane, event_loop};
use crate::start::{self, StartError};
use crate::{service, signals};
use natgw_config::Config;

/// Runs the gateway until SIGTERM or SIGINT, or until it has drained. `file` is where the configuration's `text` was read.
///
/// # Errors
/// Why it did not start. What was started until then is stopped again.
pub fn run(config: Config, file: &Path, text: String) -> Result<(), StartError> {
    let signals = signals::receive()?;
    let (server, eal, dataplane) =
        start::start(&config).map_err(|error| error.located(&config, file, &text))?;
    let token = config.management.token.clone();
    let control = Arc::new(ControlPlane::new(config, file, text, &eal, dataplane));
    control.log_start();
    let server = server.spawn(control.clone(), token)?;
    service::ready();
    event_loop::run(&control, &signals);
    service::stopping();
    tracing::info!("stopping");
    server.shutdown();
    control.stop();
    tracing::info!("stopped");
    Ok(())
}

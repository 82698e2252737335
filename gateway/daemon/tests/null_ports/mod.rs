//! A gateway between two ports that have no traffic (`net_null`): what the tests of start and end run.

use std::path::{Path, PathBuf};

/// Its configuration; `@directory@` stands for the directory of the management socket.
pub(crate) const CONFIGURATION: &str = include_str!("../../../fixtures/null-ports.toml");

/// Writes a configuration into `directory`, which is that of its socket; the file.
pub(crate) fn write(directory: &Path, configuration: &str) -> PathBuf {
    let file = directory.join("gateway.toml");
    let directory = directory.to_str().expect("a path in UTF-8");
    std::fs::write(&file, configuration.replace("@directory@", directory)).expect("a file written");
    file
}

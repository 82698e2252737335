//! The workspace's other programs, which the tests of this package run beside its own.

use std::path::Path;

/// The path of `name`, which stands beside this package's own program.
///
/// # Panics
/// It was not built: `cargo build --workspace` does.
pub(crate) fn path(name: &str) -> String {
    let path = Path::new(env!("CARGO_BIN_EXE_nat-gateway")).with_file_name(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace`", path.display());
    path.display().to_string()
}

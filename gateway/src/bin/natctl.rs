//! natctl
fn main() {}

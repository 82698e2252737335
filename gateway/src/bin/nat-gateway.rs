//! nat-gateway
fn main() {}

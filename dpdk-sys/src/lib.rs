//! Raw bindings to the part of DPDK that the gateway uses.

//! The gateway between real sockets: every test runs the program on two net_tap ports between network namespaces, and is
//! named after the requirement that it checks.
//!
//! ```text
//!  host a  10.64.0.11 ─┐                                               ┌─ server 198.51.100.10
//!  host b  10.64.0.12 ─┼─ 10.64.0.1  gateway  203.0.113.2 ── router ───┘         198.51.100.11
//!  host c  10.64.0.20 ─┘                        203.0.113.1
//! ```
//!
//! Invariants: a test that is not run as root fails, it is never skipped. A lab has everything for itself but the CPUs:
//! namespaces, names, sockets, files, memory. So as many labs stand at a time as the runner has threads; a test that measures, or
//! that loads the CPUs, is alone (`Options::alone`). A lab ends with two checks of its own: every packet is accounted for, and the gateway
//! ends on SIGTERM with exit code 0. Whatever a test started is gone when it ends, also when it fails.
//!
//! `NAT_GATEWAY_BIN` names another build of the program to test.

mod announce;
mod capture;
mod clients;
#[path = "../console/mod.rs"]
mod console;
mod cookbook;
mod deterministic;
mod drain;
mod environment;
mod explain;
mod flush;
mod forwards;
mod fragments;
mod frame;
mod gateway;
mod greedy_clients;
mod hairpinning;
mod hostile;
mod http;
mod icmp_checksums;
mod lab;
mod management;
mod metrics;
mod mirror;
mod namespace;
mod other_protocols;
mod own_addresses;
mod packet_socket;
mod path_mtu;
mod payloads;
mod port_blocks;
#[path = "../programs/mod.rs"]
mod programs;
mod prometheus;
mod reflector;
mod refused;
mod reload;
mod reload_clients;
mod reload_each;
mod reload_flow;
mod rfc4787;
mod rfc5382;
mod rfc5508;
mod rfc6888;
mod rules;
mod schemathesis;
mod short_connections;
mod tcp_server;
mod throughput;
mod top;
mod traffic;

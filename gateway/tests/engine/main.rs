//! The NAT engine against its requirements (one test each, named after the row) and against a model, on a virtual
//! clock. No DPDK, no threads, no privileges.

mod connection;
mod constant_time;
mod deletion;
mod deterministic;
mod explain;
mod fill;
mod fragments;
mod fragments_model;
mod fragments_refused;
mod lacks;
mod library;
mod model;
mod mss;
mod other;
mod overlap;
mod packet;
mod permanent;
mod pieces;
mod plan;
mod port_blocks;
mod properties;
mod redirect;
mod refusals;
mod reload;
mod rfc4787;
mod rfc5382;
mod rfc5508;
mod rfc6888;
mod rfc7857;
mod rules;
mod seed;
mod seed_fragments;
mod trial;
mod twice;
mod world;

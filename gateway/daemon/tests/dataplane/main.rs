//! The whole data plane on ports made of rings, in one process: workers on lcores, a test at the other end of every
//! wire. No huge pages, no devices, no privileges.
//!
//! Every test ends as [`lab::Setup::run`] says: the counters of every worker balance, nothing was allocated on a
//! worker, and every packet buffer is back.
#![allow(unreachable_pub)]

mod allocations;
mod lab;
mod main_lcore;
#[path = "../../../worker/tests/simulation/packet.rs"]
mod packet;

mod across;
mod capture;
mod deletion;
mod drops;
mod fragments;
mod large_pings;
mod own;
mod refused;
mod requests;
mod too_big;
mod unresolved;
mod whole;
mod wrong_queue;

//! What controls a running gateway: it answers management, hears the workers' events, and changes what is in force.
//!
//! ```text
//! event_loop ──► control_plane ──► reload, forwards ──► apply_config ─┐
//!                      ├─────────► drain ─────────────────────────────┤
//!                      └─────────► explain, capture, tables, ... ─────┴─► state ──► neighbors, block_leases, broadcast
//! ```
//!
//! The control plane is the gateway that the server sees ([`natgw_management::Gateway`]). Each part below it does what the API
//! calls by the same name, and works on the state that all share.

mod apply_config;
mod block_leases;
mod broadcast;
mod capture;
mod control_plane;
mod delete_sessions;
mod drain;
pub(crate) mod event_loop;
mod explain;
mod forwards;
mod gratuitous_arp;
mod lock;
mod neighbors;
mod reload;
mod state;
mod subscribers;
mod tables;
mod whose;

pub(crate) use control_plane::ControlPlane;

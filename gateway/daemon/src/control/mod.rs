//! What controls a running gateway: it answers management, hears the workers' events, and changes what is in force.

mod apply_config;
mod block_leases;
mod broadcast;
mod capture;
mod control_plane;
mod deletion;
mod drain;
mod explain;
mod forwards;
mod gratuitous_arp;
mod neighbors;
mod reload;
mod subscribers;

pub(crate) use control_plane::ControlPlane;

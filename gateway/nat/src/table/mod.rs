//! Tables and what they are made of: indexes, free lists, timers, bit sets, memory, hashes and time. Nothing here knows NAT.

pub(crate) mod bitset;
pub(crate) mod cpu;
pub(crate) mod enum_index;
pub(crate) mod free_list;
pub(crate) mod hash;
pub(crate) mod index;
pub(crate) mod memory;
pub(crate) mod multimap;
pub(crate) mod time;
pub(crate) mod timer_wheel;

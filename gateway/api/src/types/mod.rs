//! The shapes of the API's answers. The server writes them and `natctl` reads them; field names are a contract.
//!
//! An endpoint is written `address:port`; for ICMP the query identifier stands in the port's place, and of
//! protocols other than UDP, TCP and ICMP it is the address alone. Units stand at
//! the end of a name: `_s` seconds, `_mbps` megabits a second, `_bytes` bytes.

mod count;
mod cursor;
mod endpoint;
mod explanation;
mod holder;
mod interface;
mod pool;
mod status;
mod table;
pub mod text;

pub use count::{Counter, Counters, Drop, Drops};
pub use cursor::{BadCursor, Cursor};
pub use endpoint::{Endpoint, Protocols, WithoutPorts};
pub use explanation::{Explanation, Question, SubscriberState, WrongPorts};
pub use holder::{Holder, Whose};
pub use interface::{Interface, InterfaceStatus, Link, NicStats};
pub use pool::{DeterministicPorts, Pool, PoolBlocks, PoolFailures, PoolUsage};
pub use status::{About, Drain, Readiness, Reloaded, Reloads, Status, Swept, WorkerStatus};
pub use table::{Deleted, Forward, Mapping, Neighbor, NewForward, Page, Query, Route, Session, Subscriber};
pub use text::Address;

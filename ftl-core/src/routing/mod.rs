//! Reference routing: a versioned table, the choice of a row, and a [`Router`] that is a `VerbService`.
//!
//! [`table`](RoutingTable) is plain data, [`pick`] is a pure choice, [`Router`] swaps one for another without a lock and
//! carries calls over it. A call that was not started is tried elsewhere; one that may have run only if its verb is
//! idempotent.

mod choice;
mod router;
mod table;

pub use choice::pick;
pub use router::{Counted, Load, Routed, Router, Target};
pub use table::{RoutingTable, Row, StaleTable};

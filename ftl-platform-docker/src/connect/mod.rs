//! How the engine is found and spoken to.
//!
//! Nothing is opened before it is needed, and nothing is kept that an engine's restart would break.

mod address;
mod engine;

pub(crate) use address::Surroundings;
pub(crate) use engine::{Engine, Place};

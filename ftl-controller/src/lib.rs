//! The reference Controller: coordinates. Being written.

pub mod time;
pub mod timings;

pub mod desired;
pub mod observed;

pub mod plan;

pub mod store;

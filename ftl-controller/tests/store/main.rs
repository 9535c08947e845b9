//! The store over real files: what was acknowledged survives, a newer epoch fences, history is bounded, and every
//! transaction does what its pure twin does.

#[cfg(test)]
mod bounds;
#[cfg(test)]
mod durable;
#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod twin;

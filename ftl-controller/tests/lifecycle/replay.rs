//! The real store repeats what the worlds made durable.

//! Schedules by hand.

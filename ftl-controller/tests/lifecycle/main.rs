//! The properties of the plan, over the real plan in a world of fake platforms and Runners.
//!
//! [`world`] is the state of everything and the events that may happen to it; `walk` lets them happen at random and
//! checks that afterwards, with no more faults, everything comes to its end; `directed` plays the schedules that once
//! broke a design. A property that cannot fail is worth nothing: [`world::Broken`] takes single rules away, and the
//! walks must then find out.

#[cfg(test)]
mod controller;
#[cfg(test)]
mod directed;
#[cfg(test)]
mod end;
#[cfg(test)]
mod machines;
#[cfg(test)]
mod replay;
#[cfg(test)]
mod walk;
#[cfg(test)]
mod world;

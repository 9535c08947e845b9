//! What the macros' expansions name. Not for people: it changes without notice.

pub use ftl_core::schema::{Type, Visibility};
pub use serde;

pub use crate::failure::PassedOn;
pub use crate::json::accepts_absence;
pub use crate::param::{Incoming, Injected, Join, Request, Roles};
pub use crate::types::Types;
pub use crate::verb::{Definition, Serve, describe, finish};

/// The tables that describe types.
pub mod blueprint {
    pub use crate::blueprint::{Absence, Blueprint, Field, Fields, Shape, Tagging, Variant};
}

use crate::module::Module;

/// Makes the constant of a module.
#[must_use]
pub const fn module(name: &'static str, docs: &'static str, verbs: &'static [&'static Definition]) -> Module {
    Module::new(name, docs, verbs)
}

/// The body of the unit test that `ftl::module!` emits.
///
/// # Panics
/// When the module has no schema, with everything that is wrong with it.
#[expect(clippy::panic, reason = "the assertion of a test")]
pub fn assert_schema(module: &Module) {
    if let Err(error) = module.schema() {
        panic!("{error}");
    }
}

//! [`Data`]: what can cross a wire, and the types of the standard library that do.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use ftl_core::Failure;
use ftl_core::schema::Type;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::param::{Incoming, Param, Request};
use crate::types::Types;
use crate::verb::Output;

/// A value that can cross a wire, with a schema that says what it looks like there.
///
/// Implemented by [`#[ftl::data]`](macro@crate::data) and for the usual types of the standard library. Two values
/// have no JSON form: a float that is not finite, and `Some(None)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not FTL data: it has no schema",
    label = "add `#[ftl::data]` to this type",
    note = "data is: a `#[ftl::data]` struct or enum, `()`, `bool`, `char`, `String`, `i8` to `i64`, `u8` to `u64`, `f32`, `f64`, \
            `Option`, `Vec`, maps, sets, tuples of up to four, `Box`, `Arc`, and `serde_json::Value`",
    note = "for a type of another crate, write one of your own with `#[serde(try_from = \"String\", into = \"String\")]`"
)]
pub trait Data: Serialize + DeserializeOwned + Send + 'static {
    /// Says what a value looks like, and defines the named types that it uses.
    fn describe(types: &mut Types) -> Type;
}

/// Implements [`Data`] for a type that can also be a request or a reply as it is.
macro_rules! data {
    ($([$($generics:tt)*] $ty:ty = |$types:ident| $describe:expr;)*) => { $(
        impl<$($generics)*> Data for $ty {
            fn describe($types: &mut Types) -> Type {
                let _ = &$types;
                $describe
            }
        }

        impl<$($generics)*> Param for $ty {
            type Role = Request<Self>;
            fn take(incoming: &mut Incoming) -> Result<Self, Failure> {
                incoming.request()
            }
        }

        impl<$($generics)*> Output for $ty {
            type Reply = Self;
            type Error = Infallible;
            fn into_result(self) -> Result<Self, Infallible> {
                Ok(self)
            }
        }
    )* };
}

fn boxed<T: Data>(types: &mut Types) -> Box<Type> {
    Box::new(T::describe(types))
}

data! {
    [] () = |types| Type::Unit;
    [] bool = |types| Type::Bool;
    [] char = |types| Type::Char;
    [] String = |types| Type::Text;
    [] i8 = |types| Type::Int { bits: 8, signed: true };
    [] i16 = |types| Type::Int { bits: 16, signed: true };
    [] i32 = |types| Type::Int { bits: 32, signed: true };
    [] i64 = |types| Type::Int { bits: 64, signed: true };
    [] u8 = |types| Type::Int { bits: 8, signed: false };
    [] u16 = |types| Type::Int { bits: 16, signed: false };
    [] u32 = |types| Type::Int { bits: 32, signed: false };
    [] u64 = |types| Type::Int { bits: 64, signed: false };
    [] f32 = |types| Type::Float { bits: 32 };
    [] f64 = |types| Type::Float { bits: 64 };
    [] serde_json::Value = |types| Type::Any;
    [T: Data] Option<T> = |types| types.optional::<T>();
    [T: Data] Vec<T> = |types| Type::List(boxed::<T>(types));
    [T: Data + Ord] BTreeSet<T> = |types| Type::List(boxed::<T>(types));
    [T: Data + Eq + Hash, S: BuildHasher + Default + Send + 'static] HashSet<T, S> =
        |types| Type::List(boxed::<T>(types));
    [K: Data + Ord, V: Data] BTreeMap<K, V> = |types| types.map::<K, V>();
    [K: Data + Eq + Hash, V: Data, S: BuildHasher + Default + Send + 'static] HashMap<K, V, S> =
        |types| types.map::<K, V>();
    [A: Data] (A,) = |types| Type::Tuple(vec![A::describe(types)]);
    [A: Data, B: Data] (A, B) = |types| Type::Tuple(vec![A::describe(types), B::describe(types)]);
    [A: Data, B: Data, C: Data] (A, B, C) =
        |types| Type::Tuple(vec![A::describe(types), B::describe(types), C::describe(types)]);
    [A: Data, B: Data, C: Data, D: Data] (A, B, C, D) =
        |types| Type::Tuple(vec![A::describe(types), B::describe(types), C::describe(types), D::describe(types)]);
}

// A box is only a place: what is in it is the parameter or the reply.
impl<T: Data> Data for Box<T> {
    fn describe(types: &mut Types) -> Type {
        T::describe(types)
    }
}

impl<T: Data + Sync> Data for Arc<T> {
    fn describe(types: &mut Types) -> Type {
        T::describe(types)
    }
}

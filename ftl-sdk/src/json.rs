//! Values as JSON: written, read, and held against their schema.
//!
//! Messages name paths and kinds, never values: a value may be secret.

use std::any::type_name;

use ftl_core::schema::{Direction, Module};
use ftl_core::{Body, Code, Failure};
use serde::de::{self, Visitor};
use serde_json::Value;

use crate::data::Data;
use crate::types::Types;

/// Writes a value. In debug builds the result is held against the schema of its type.
pub(crate) fn encode<T: Data>(value: &T) -> Result<Body, Failure> {
    let refused = |problem: String| {
        let message = format!("a value of `{}` cannot be sent: {problem}", short(type_name::<T>()));
        Failure::new(Code::Internal, message)
    };
    let json = serde_json::to_vec(value).map_err(|error| refused(error.to_string()))?;
    if cfg!(debug_assertions)
        && let Some(difference) = compare::<T>(&json, Direction::Written)
    {
        return Err(refused(format!("it does not look as its schema says: {difference}")));
    }
    Ok(Body::once(json))
}

/// Reads a value.
///
/// # Errors
/// Where it is not what its type expects, as `$.items[3].name: this field is missing`.
pub(crate) fn decode<T: Data>(json: &[u8]) -> Result<T, String> {
    // Whoever has nothing to say may say nothing.
    let json = if json.is_empty() { b"null" } else { json };
    serde_json::from_slice(json).map_err(|error| {
        let place = || format!("line {}, column {}", error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => compare::<T>(json, Direction::Received)
                .unwrap_or_else(|| format!("$: refused by `{}` at {}", short(type_name::<T>()), place())),
            _ => format!("$: this is no JSON at {}", place()),
        }
    })
}

/// Where JSON differs from the schema of a type, if it does.
fn compare<T: Data>(json: &[u8], direction: Direction) -> Option<String> {
    let value: Value = serde_json::from_slice(json).ok()?;
    let mut types = Types::default();
    let ty = T::describe(&mut types);
    // A schema that cannot be built is reported where the module is tested and started.
    let mut module = Module::new("compared".parse().ok()?);
    module.types = types.finish().ok()?;
    module.check(&ty, &value, direction).err().map(|mismatch| mismatch.to_string())
}

/// A type's name without the path before it.
pub(crate) fn short(name: &str) -> &str {
    let generic = name.find('<').unwrap_or(name.len());
    name[..generic].rfind("::").map_or(name, |at| &name[at + 2..])
}

/// Whether a type accepts that it is missing, as an `Option` does. serde itself is asked.
pub fn accepts_absence<T: Data>() -> bool {
    T::deserialize(Absent).is_ok()
}

/// Offers nothing, as serde does for a field that is missing.
struct Absent;

impl<'de> de::Deserializer<'de> for Absent {
    type Error = de::value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(de::Error::custom("missing"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_none()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

//! Holds a JSON value against a type, and names the path where they differ.
//!
//! Messages name kinds and fields, never values: a value may be secret.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Definition, Field, Fields, Module, Shape, Tagging, Type, TypeName, Variant};
use crate::name::nearest;

/// Deepest nesting of a value that is looked at.
const NESTING_MAX: usize = 128;

/// Which way a value travels: a decoder is told what is wrong, an encoder what it promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Somebody sent it: an optional field may be missing.
    Received,
    /// We wrote it: the same, said of ourselves.
    Written,
}

/// Where a value does not have the shape that the schema says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct Mismatch {
    /// Where: `$.items[3].name`.
    pub path: String,
    /// What is wrong there.
    pub problem: String,
}

impl Module {
    /// Checks that a value has the shape of a type of this module.
    ///
    /// ```
    /// use ftl_core::schema::{Direction, Module, Type};
    /// let module = Module::new("clock".parse().unwrap());
    /// let list = Type::List(Box::new(Type::Bool));
    /// assert!(module.check(&list, &serde_json::json!([true]), Direction::Received).is_ok());
    /// let wrong = module.check(&list, &serde_json::json!([true, 1]), Direction::Received).unwrap_err();
    /// assert_eq!(wrong.to_string(), "$[1]: expected bool, found a number");
    /// ```
    ///
    /// # Errors
    /// The first place where the value differs.
    pub fn check(&self, ty: &Type, value: &Value, direction: Direction) -> Result<(), Mismatch> {
        Checker { types: &self.types, direction }.value(ty, value, &Path::Root)
    }
}

/// A path that is only put together when it is needed.
enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn text(&self) -> String {
        match self {
            Self::Root => "$".to_owned(),
            Self::Field(parent, name) => format!("{}.{name}", parent.text()),
            Self::Index(parent, index) => format!("{}[{index}]", parent.text()),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Root => 0,
            Self::Field(parent, _) | Self::Index(parent, _) => parent.depth() + 1,
        }
    }

    fn refuse<T>(&self, problem: impl Into<String>) -> Result<T, Mismatch> {
        Err(Mismatch { path: self.text(), problem: problem.into() })
    }
}

struct Checker<'a> {
    types: &'a BTreeMap<TypeName, Definition>,
    direction: Direction,
}

impl Checker<'_> {
    fn value(&self, ty: &Type, value: &Value, path: &Path<'_>) -> Result<(), Mismatch> {
        if path.depth() > NESTING_MAX {
            return path.refuse("nested too deep");
        }
        match (ty, value) {
            (Type::Any, _) | (Type::Unit, Value::Null) | (Type::Bool, Value::Bool(_)) => Ok(()),
            (Type::Text, Value::String(_)) => Ok(()),
            (Type::Char, Value::String(text)) if text.chars().count() == 1 => Ok(()),
            (Type::Int { bits, signed }, Value::Number(number)) => match fits(number, *bits, *signed) {
                true => Ok(()),
                false => path.refuse(format!("the number does not fit {ty}")),
            },
            (Type::Float { .. }, Value::Number(_)) => Ok(()),
            (Type::Optional(_), Value::Null) => Ok(()),
            (Type::Optional(inner), _) => self.value(inner, value, path),
            (Type::List(inner), Value::Array(items)) => {
                self.items(items.iter().map(|item| (&**inner, item)), path)
            }
            (Type::Tuple(parts), Value::Array(items)) => self.tuple(parts, items, path),
            (Type::Map(_, inner), Value::Object(entries)) => {
                entries.iter().try_for_each(|(key, value)| self.value(inner, value, &Path::Field(path, key)))
            }
            (Type::Named(name), _) => self.named(name, value, path),
            _ => path.refuse(format!("expected {ty}, found {}", kind(value))),
        }
    }

    fn items<'v>(
        &self,
        items: impl Iterator<Item = (&'v Type, &'v Value)>,
        path: &Path<'_>,
    ) -> Result<(), Mismatch> {
        items.enumerate().try_for_each(|(index, (ty, item))| self.value(ty, item, &Path::Index(path, index)))
    }

    fn tuple(&self, parts: &[Type], items: &[Value], path: &Path<'_>) -> Result<(), Mismatch> {
        if parts.len() != items.len() {
            return path.refuse(format!("expected {} values, found {}", parts.len(), items.len()));
        }
        self.items(parts.iter().zip(items), path)
    }

    fn named(&self, name: &TypeName, value: &Value, path: &Path<'_>) -> Result<(), Mismatch> {
        match self.types.get(name).map(|definition| &definition.shape) {
            None => path.refuse(format!("the schema does not define {name}")),
            Some(Shape::Struct(fields)) => self.fields(fields, value, path),
            Some(Shape::Enum { tagging, variants }) => self.variant(name, tagging, variants, value, path),
        }
    }

    fn fields(&self, fields: &Fields, value: &Value, path: &Path<'_>) -> Result<(), Mismatch> {
        match (fields, value) {
            (Fields::Unit, _) => self.value(&Type::Unit, value, path),
            (Fields::Newtype(ty), _) => self.value(ty, value, path),
            (Fields::Tuple(parts), Value::Array(items)) => self.tuple(parts, items, path),
            (Fields::Named(fields), Value::Object(entries)) => self.object(fields, entries, None, path),
            (Fields::Tuple(_), _) => path.refuse(format!("expected an array, found {}", kind(value))),
            (Fields::Named(_), _) => path.refuse(format!("expected an object, found {}", kind(value))),
        }
    }

    fn object(
        &self,
        fields: &[Field],
        entries: &Map<String, Value>,
        tag: Option<&str>,
        path: &Path<'_>,
    ) -> Result<(), Mismatch> {
        for field in fields {
            match entries.get(&field.name) {
                Some(value) => self.value(&field.ty, value, &Path::Field(path, &field.name))?,
                None if field.optional => {}
                None => {
                    let problem = match self.direction {
                        Direction::Received => "this field is missing",
                        Direction::Written => "the schema promises this field, the value does not have it",
                    };
                    return Path::Field(path, &field.name).refuse(problem);
                }
            }
        }
        let known = |key: &str| tag == Some(key) || fields.iter().any(|field| field.name == key);
        match entries.keys().find(|key| !known(key)) {
            None => Ok(()),
            Some(key) => {
                let names = fields.iter().map(|field| field.name.as_str());
                let hint =
                    nearest(key, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                Path::Field(path, key).refuse(format!("there is no such field{hint}"))
            }
        }
    }

    fn variant(
        &self,
        name: &TypeName,
        tagging: &Tagging,
        variants: &[Variant],
        value: &Value,
        path: &Path<'_>,
    ) -> Result<(), Mismatch> {
        match (tagging, value) {
            (Tagging::External, Value::String(text)) => match &find(name, variants, text, path)?.fields {
                Fields::Unit => Ok(()),
                _ => path.refuse(format!("variant `{text}` has content: write {{\"{text}\": …}}")),
            },
            (Tagging::External, Value::Object(entries)) if entries.len() == 1 => {
                entries.iter().try_for_each(|(key, content)| {
                    let variant = find(name, variants, key, path)?;
                    self.fields(&variant.fields, content, &Path::Field(path, key))
                })
            }
            (Tagging::Internal { tag }, Value::Object(entries)) => {
                let variant = self.tagged(name, variants, tag, entries, path)?;
                match &variant.fields {
                    Fields::Unit => self.object(&[], entries, Some(tag), path),
                    Fields::Named(fields) => self.object(fields, entries, Some(tag), path),
                    Fields::Newtype(inner) => {
                        let mut rest = entries.clone();
                        rest.remove(tag);
                        self.value(inner, &Value::Object(rest), path)
                    }
                    Fields::Tuple(_) => path.refuse("a tuple cannot carry a tag inside"),
                }
            }
            (Tagging::Adjacent { tag, content }, Value::Object(entries)) => {
                let variant = self.tagged(name, variants, tag, entries, path)?;
                match (&variant.fields, entries.get(content)) {
                    (Fields::Unit, None) => Ok(()),
                    (fields, Some(value)) => self.fields(fields, value, &Path::Field(path, content)),
                    (_, None) => Path::Field(path, content).refuse("this field is missing"),
                }
            }
            _ => path.refuse(format!("expected a variant of {name}, found {}", kind(value))),
        }
    }

    fn tagged<'v>(
        &self,
        name: &TypeName,
        variants: &'v [Variant],
        tag: &str,
        entries: &Map<String, Value>,
        path: &Path<'_>,
    ) -> Result<&'v Variant, Mismatch> {
        match entries.get(tag) {
            Some(Value::String(text)) => find(name, variants, text, &Path::Field(path, tag)),
            Some(other) => Path::Field(path, tag).refuse(format!("expected a string, found {}", kind(other))),
            None => Path::Field(path, tag).refuse("this field is missing: it says which variant it is"),
        }
    }
}

fn find<'v>(
    name: &TypeName,
    variants: &'v [Variant],
    found: &str,
    path: &Path<'_>,
) -> Result<&'v Variant, Mismatch> {
    if let Some(variant) = variants.iter().find(|variant| variant.name == found) {
        return Ok(variant);
    }
    let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
    path.refuse(format!("{name} has no such variant; it has {}", names.join(", ")))
}

fn fits(number: &serde_json::Number, bits: u8, signed: bool) -> bool {
    let value = match (number.as_u64(), number.as_i64()) {
        (Some(value), _) => i128::from(value),
        (None, Some(value)) => i128::from(value),
        // Wider than 64 bits, or a fraction: JSON numbers of 128 bits are not read by this parser.
        (None, None) => return false,
    };
    match (bits, signed) {
        (128, true) => true,
        (128, false) => value >= 0,
        (bits, true) => (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&value),
        (bits, false) => (0..1i128 << bits).contains(&value),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

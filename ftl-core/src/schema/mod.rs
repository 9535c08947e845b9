//! The schema language: what a module offers, what its data looks like in JSON, and whom it calls.
//!
//! A schema comes out of the same compile as the code that it describes. It has a JSON form (serde, on these
//! types), a readable form ([`Module::to_text`]) and a structural hash ([`Module::hash`]) that
//! leaves documentation out. [`Module::check`] holds a JSON value against a type and names the path where they differ.

mod check;
mod edges;
mod hash;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use check::{Direction, Mismatch};
pub use edges::CallEdges;

use crate::name::{ModuleName, VerbName, VerbRef};

/// What a module offers and uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Module {
    /// Its name.
    pub name: ModuleName,
    /// Its documentation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// Its verbs, ordered by name.
    pub verbs: Vec<Verb>,
    /// Every named type that its verbs reach.
    #[serde(default)]
    pub types: BTreeMap<TypeName, Definition>,
}

impl Module {
    /// A module without verbs.
    #[must_use]
    pub fn new(name: ModuleName) -> Self {
        Self { name, doc: String::new(), verbs: Vec::new(), types: BTreeMap::new() }
    }

    /// The verb of this name.
    #[must_use]
    pub fn verb(&self, name: &str) -> Option<&Verb> {
        self.verbs.iter().find(|verb| verb.name.as_str() == name)
    }

    /// Whether one of its verbs declares that it calls this verb.
    #[must_use]
    pub fn declares_call(&self, callee: &VerbRef) -> bool {
        self.verbs.iter().any(|verb| verb.calls.contains(callee))
    }
}

/// Who may call a verb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Its own module.
    Module,
    /// Every module of the system.
    #[default]
    System,
    /// Also callers from outside, through the ingress.
    Public,
}

/// One verb.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verb {
    /// Its name.
    pub name: VerbName,
    /// Its documentation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// Who may call it.
    #[serde(default)]
    pub visibility: Visibility,
    /// Whether running it twice is the same as running it once: only then a call that may have run is repeated.
    #[serde(default)]
    pub idempotent: bool,
    /// What it takes.
    pub request: Type,
    /// What it answers.
    pub reply: Type,
    /// The error it may return, if it has a typed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Type>,
    /// The verbs that it calls. Nothing else can be called by it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<VerbRef>,
}

impl Verb {
    /// A verb that takes, answers and calls nothing.
    #[must_use]
    pub fn new(name: VerbName) -> Self {
        Self {
            name,
            doc: String::new(),
            visibility: Visibility::default(),
            idempotent: false,
            request: Type::Unit,
            reply: Type::Unit,
            error: None,
            calls: Vec::new(),
        }
    }
}

/// The name of a type, qualified by the package that defines it: `clock.NowReply`.
///
/// * a package or module name, `.`, and an identifier that may have type arguments: `shop.Page<shop.Item>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TypeName(String);

impl TypeName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not the name of a type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a type name: write `package.Type`")]
pub struct TypeNameError(String);

impl FromStr for TypeName {
    type Err = TypeNameError;
    fn from_str(text: &str) -> Result<Self, TypeNameError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_.-<>,[]{}:?() ".contains(c);
        let qualified =
            text.split_once('.').is_some_and(|(package, name)| !package.is_empty() && !name.is_empty());
        if qualified && text.len() <= 1000 && text.chars().all(legal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TypeNameError(text.chars().take(100).collect()))
        }
    }
}

impl TryFrom<String> for TypeName {
    type Error = TypeNameError;
    fn try_from(text: String) -> Result<Self, TypeNameError> {
        text.parse()
    }
}

impl From<TypeName> for String {
    fn from(name: TypeName) -> Self {
        name.0
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a value looks like in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Type {
    /// `null`.
    Unit,
    /// `true` or `false`.
    Bool,
    /// A whole number that fits.
    Int {
        /// 8, 16, 32, 64 or 128.
        bits: u8,
        /// Whether it may be negative.
        signed: bool,
    },
    /// A finite number.
    Float {
        /// 32 or 64.
        bits: u8,
    },
    /// A string of one character.
    Char,
    /// A string.
    Text,
    /// Any JSON at all.
    Any,
    /// The value or `null`.
    Optional(Box<Type>),
    /// An array of any length.
    List(Box<Type>),
    /// An array of exactly these.
    Tuple(Vec<Type>),
    /// An object with arbitrary keys; its keys are written as strings whatever their type.
    Map(Box<Type>, Box<Type>),
    /// A type that the module's [`types`](Module::types) define.
    Named(TypeName),
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unit => f.write_str("()"),
            Self::Bool => f.write_str("bool"),
            Self::Int { bits, signed } => write!(f, "{}{bits}", if *signed { 'i' } else { 'u' }),
            Self::Float { bits } => write!(f, "f{bits}"),
            Self::Char => f.write_str("char"),
            Self::Text => f.write_str("text"),
            Self::Any => f.write_str("any"),
            Self::Optional(inner) => write!(f, "{inner}?"),
            Self::List(inner) => write!(f, "[{inner}]"),
            Self::Tuple(parts) => {
                let parts: Vec<String> = parts.iter().map(Self::to_string).collect();
                write!(f, "({})", parts.join(", "))
            }
            Self::Map(key, value) => write!(f, "{{{key}: {value}}}"),
            Self::Named(name) => name.fmt(f),
        }
    }
}

/// What a named type is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Definition {
    /// Its documentation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// Its shape.
    pub shape: Shape,
}

impl Definition {
    /// Defines a type.
    pub fn new(doc: impl Into<String>, shape: Shape) -> Self {
        Self { doc: doc.into(), shape }
    }
}

/// The shape of a named type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shape {
    /// A struct.
    Struct(Fields),
    /// One of several variants.
    Enum {
        /// How a value says which variant it is.
        tagging: Tagging,
        /// The variants, in the order of the source.
        variants: Vec<Variant>,
    },
}

/// What a struct or a variant holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fields {
    /// Nothing.
    Unit,
    /// One value, written as itself.
    Newtype(Type),
    /// Several values, written as an array.
    Tuple(Vec<Type>),
    /// Named values, written as an object.
    Named(Vec<Field>),
}

/// A named value in a struct or a variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Field {
    /// Its name in JSON.
    pub name: String,
    /// Its documentation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// What it holds.
    #[serde(rename = "type")]
    pub ty: Type,
    /// Whether whoever sends a value may leave it out.
    #[serde(default)]
    pub optional: bool,
}

impl Field {
    /// A field that must be there.
    pub fn new(name: impl Into<String>, ty: Type) -> Self {
        Self { name: name.into(), doc: String::new(), ty, optional: false }
    }
}

/// How a value of an enum says which variant it is: serde's three tagged forms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tagging {
    /// `"Unit"` or `{"Variant": …}`.
    External,
    /// `{"tag": "Variant", …}`.
    Internal {
        /// The name of the tag's field.
        tag: String,
    },
    /// `{"tag": "Variant", "content": …}`.
    Adjacent {
        /// The name of the tag's field.
        tag: String,
        /// The name of the content's field.
        content: String,
    },
}

/// One variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Variant {
    /// Its name in JSON.
    pub name: String,
    /// Its documentation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// What it holds.
    pub fields: Fields,
}

impl Variant {
    /// A variant.
    pub fn new(name: impl Into<String>, doc: impl Into<String>, fields: Fields) -> Self {
        Self { name: name.into(), doc: doc.into(), fields }
    }
}

//! The schema of one type as a constant table, which the macros write.
//!
//! A table costs the compiler less than code that builds the same thing, and reads better in an expansion.

use ftl_core::schema::{self, Definition, Type};

use crate::types::Types;

/// Describes a type that another one contains.
pub(crate) type Describe = fn(&mut Types) -> Type;

/// A named type.
#[derive(Clone, Copy, Debug)]
pub struct Blueprint {
    /// `package.Type`.
    pub name: &'static str,
    /// Its documentation.
    pub docs: &'static str,
    /// Its shape.
    pub shape: Shape,
}

/// The shape of a named type.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A struct.
    Struct(Fields),
    /// An enum.
    Enum {
        /// How a value says which variant it is.
        tagging: Tagging,
        /// The variants.
        variants: &'static [Variant],
    },
}

/// How a value of an enum says which variant it is.
#[derive(Clone, Copy, Debug)]
pub enum Tagging {
    /// By the only key of an object, or a string.
    External,
    /// By a field beside the variant's own.
    Internal {
        /// Its name.
        tag: &'static str,
    },
    /// By a field beside the content.
    Adjacent {
        /// Its name.
        tag: &'static str,
        /// The name of the content.
        content: &'static str,
    },
}

/// A variant.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its documentation.
    pub docs: &'static str,
    /// What it holds.
    pub fields: Fields,
}

/// What a struct or a variant holds.
#[derive(Clone, Copy, Debug)]
pub enum Fields {
    /// Nothing.
    Unit,
    /// One value, written as itself.
    Newtype(Describe),
    /// Several values, written as an array.
    Tuple(&'static [Describe]),
    /// Named values.
    Named(&'static [Field]),
}

/// A named value.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name in JSON.
    pub name: &'static str,
    /// Its documentation.
    pub docs: &'static str,
    /// Its type.
    pub describe: Describe,
    /// What becomes of a value without it.
    pub absence: Absence,
    /// Whether it is sometimes left out when it is written.
    pub may_be_skipped: bool,
}

/// What becomes of a value in which a field is missing.
#[derive(Clone, Copy, Debug)]
pub enum Absence {
    /// The field has a default.
    Accepted,
    /// Its type decides: an `Option` may be missing.
    Ask(fn() -> bool),
}

impl Blueprint {
    /// The definition in the schema, with every type that it contains.
    pub(crate) fn build(&self, types: &mut Types) -> Definition {
        let shape = match self.shape {
            Shape::Struct(fields) => schema::Shape::Struct(self.fields(fields, types)),
            Shape::Enum { tagging, variants } => schema::Shape::Enum {
                variants: variants.iter().map(|variant| self.variant(variant, tagging, types)).collect(),
                tagging: tagging.build(),
            },
        };
        Definition::new(self.docs, shape)
    }

    fn variant(&self, variant: &Variant, tagging: Tagging, types: &mut Types) -> schema::Variant {
        let fields = self.fields(variant.fields, types);
        if let (Tagging::Internal { tag }, schema::Fields::Newtype(content)) = (tagging, &fields) {
            let place = format!("the variant `{}` of {}", variant.name, self.name);
            types.must_be_object(content, format!("{place} has its tag `{tag}` inside"));
        }
        schema::Variant::new(variant.name, variant.docs, fields)
    }

    fn fields(&self, fields: Fields, types: &mut Types) -> schema::Fields {
        match fields {
            Fields::Unit => schema::Fields::Unit,
            Fields::Newtype(describe) => schema::Fields::Newtype(describe(types)),
            Fields::Tuple(parts) => {
                schema::Fields::Tuple(parts.iter().map(|describe| describe(types)).collect())
            }
            Fields::Named(fields) => {
                schema::Fields::Named(fields.iter().map(|field| self.field(field, types)).collect())
            }
        }
    }

    fn field(&self, field: &Field, types: &mut Types) -> schema::Field {
        let mut built = schema::Field::new(field.name, (field.describe)(types));
        field.docs.clone_into(&mut built.doc);
        built.optional = match field.absence {
            Absence::Accepted => true,
            Absence::Ask(accepts_absence) => accepts_absence(),
        };
        if field.may_be_skipped && !built.optional {
            types.problem(format!(
                "the field `{}` of {} may be left out when it is written, and is demanded when it is read: \
                 add `#[serde(default)]`",
                field.name, self.name
            ));
        }
        built
    }
}

impl Tagging {
    fn build(self) -> schema::Tagging {
        match self {
            Self::External => schema::Tagging::External,
            Self::Internal { tag } => schema::Tagging::Internal { tag: tag.to_owned() },
            Self::Adjacent { tag, content } => {
                schema::Tagging::Adjacent { tag: tag.to_owned(), content: content.to_owned() }
            }
        }
    }
}

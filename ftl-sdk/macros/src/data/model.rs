//! What a type looks like on the wire.

use proc_macro2::Ident;
use serde_derive_internals::ast::{self, Container, Style};
use serde_derive_internals::attr::{self, TagType};
use syn::Type;
use syn::ext::IdentExt;

use super::options::Options;
use crate::docs;
use crate::package::Package;

/// A type that passed every check.
pub(crate) struct Data {
    pub(crate) ident: Ident,
    /// Its name in the schema: `package.Type`, the package as its crate is named in code.
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) shape: Shape,
}

pub(crate) enum Shape {
    Struct(Fields),
    Enum { tagging: Tagging, variants: Vec<Variant> },
}

pub(crate) enum Tagging {
    External,
    Internal { tag: String },
    Adjacent { tag: String, content: String },
}

pub(crate) struct Variant {
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) fields: Fields,
}

pub(crate) enum Fields {
    Unit,
    Newtype(Box<Type>),
    Tuple(Vec<Type>),
    Named(Vec<Field>),
}

pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) docs: String,
    pub(crate) ty: Type,
    /// Whether it has a default, so that its absence is accepted whatever its type says.
    pub(crate) has_default: bool,
    /// Whether it is sometimes left out when it is written.
    pub(crate) may_be_skipped: bool,
}

impl Data {
    pub(crate) fn of(package: &Package, options: &Options, container: &Container<'_>) -> Self {
        let own = || container.ident.unraw().to_string();
        let name = options.name.as_ref().map_or_else(own, |name| name.value());
        Self {
            ident: container.ident.clone(),
            name: format!("{}.{name}", package.module_name()),
            docs: docs::text_of(&container.original.attrs),
            shape: shape(container),
        }
    }
}

fn shape(container: &Container<'_>) -> Shape {
    let attrs = &container.attrs;
    if let Some(wire) = attrs.type_into() {
        return Shape::Struct(Fields::Newtype(Box::new(wire.clone())));
    }
    match &container.data {
        ast::Data::Struct(_, all) if attrs.transparent() => {
            // serde has checked that exactly one field carries the value.
            let carrier = all.iter().find(|field| field.attrs.transparent());
            Shape::Struct(carrier.map_or(Fields::Unit, |field| Fields::Newtype(Box::new(field.ty.clone()))))
        }
        ast::Data::Struct(style, all) => {
            Shape::Struct(fields(*style, all, !matches!(attrs.default(), attr::Default::None)))
        }
        ast::Data::Enum(all) => {
            let sent = all.iter().filter(|variant| !variant.attrs.skip_serializing());
            Shape::Enum { tagging: tagging(attrs.tag()), variants: sent.map(variant).collect() }
        }
    }
}

fn tagging(tag: &TagType) -> Tagging {
    match tag {
        // Untagged enums are refused before.
        TagType::External | TagType::None => Tagging::External,
        TagType::Internal { tag } => Tagging::Internal { tag: tag.clone() },
        TagType::Adjacent { tag, content } => {
            Tagging::Adjacent { tag: tag.clone(), content: content.clone() }
        }
    }
}

fn variant(variant: &ast::Variant<'_>) -> Variant {
    Variant {
        name: variant.attrs.name().serialize_name().value.clone(),
        docs: docs::text_of(&variant.original.attrs),
        fields: fields(variant.style, &variant.fields, false),
    }
}

fn fields(style: Style, all: &[ast::Field<'_>], container_default: bool) -> Fields {
    let mut sent = all.iter().filter(|field| !field.attrs.skip_serializing());
    match style {
        Style::Unit => Fields::Unit,
        Style::Newtype => {
            sent.next().map_or(Fields::Unit, |field| Fields::Newtype(Box::new(field.ty.clone())))
        }
        Style::Tuple => Fields::Tuple(sent.map(|field| field.ty.clone()).collect()),
        Style::Struct => Fields::Named(sent.map(|field| named(field, container_default)).collect()),
    }
}

fn named(field: &ast::Field<'_>, container_default: bool) -> Field {
    Field {
        name: field.attrs.name().serialize_name().value.clone(),
        docs: docs::text_of(&field.original.attrs),
        ty: field.ty.clone(),
        has_default: container_default || !matches!(field.attrs.default(), attr::Default::None),
        may_be_skipped: field.attrs.skip_serializing_if().is_some(),
    }
}

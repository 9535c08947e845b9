//! The rules of data: whatever has more than one wire form, or one that the schema cannot say, is refused.

use proc_macro2::{Span, TokenTree};
use quote::ToTokens;
use serde_derive_internals::ast::{Container, Data, Field, Style, Variant};
use serde_derive_internals::attr::{Default as SerdeDefault, TagType};
use serde_derive_internals::name::MultiName;
use syn::spanned::Spanned;
use syn::{Attribute, DeriveInput, Meta};

use super::Kind;
use super::options::Options;
use crate::diagnostics::Errors;
use crate::package::Package;

/// The traits that the attribute may derive, and that an option may leave to the user.
pub(crate) const COMMON_TRAITS: [&str; 3] = ["Debug", "Clone", "PartialEq"];

/// Attributes of serde's that have no schema: where they may stand, the word, and the rule with its remedy.
const REFUSED: &[(Place, &str, &str)] = &[
    (
        Place::Container,
        "untagged",
        "nothing in the value says which variant it is: write `#[serde(tag = \"type\")]`",
    ),
    (Place::Container, "remote", "`remote` describes a type of somebody else: wrap it in a struct of yours"),
    (
        Place::Container,
        "variant_identifier",
        "an identifier is no data of its own: derive serde's traits instead",
    ),
    (
        Place::Container,
        "field_identifier",
        "an identifier is no data of its own: derive serde's traits instead",
    ),
    (
        Place::Variant,
        "alias",
        "a schema has one name for each variant: keep the old variant beside the new one",
    ),
    (
        Place::Variant,
        "other",
        "a variant that stands for all unknown ones cannot be written back: remove `other`",
    ),
    (Place::Variant, "untagged", "nothing in the value says that it is this variant: remove `untagged`"),
    (Place::Variant, "with", HIDDEN),
    (Place::Variant, "serialize_with", HIDDEN),
    (Place::Variant, "deserialize_with", HIDDEN),
    (
        Place::Field,
        "alias",
        "a schema has one name for each field: keep the old one beside it as an `Option`",
    ),
    (
        Place::Field,
        "flatten",
        "the fields of a flattened type have no place in the schema yet: name the field",
    ),
    (Place::Field, "with", HIDDEN),
    (Place::Field, "serialize_with", HIDDEN),
    (Place::Field, "deserialize_with", HIDDEN),
    (Place::Field, "getter", HIDDEN),
];

const HIDDEN: &str = "this hides what the value looks like on the wire: make it a type of its own with \
                      `#[serde(try_from = \"String\", into = \"String\")]`";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Container,
    Variant,
    Field,
}

/// The rules that need no understanding of serde's attributes.
pub(crate) fn before_serde(
    package: &Package,
    kind: Kind,
    options: &Options,
    input: &DeriveInput,
    errors: &mut Errors,
) {
    if kind == Kind::Error && !matches!(input.data, syn::Data::Enum(_)) {
        errors.at(&input.ident, "an error is an enum: its variants are what callers match on");
    }
    if kind == Kind::Error && !package.has_thiserror {
        let message = "`#[ftl::error]` derives with `thiserror`, and this package does not depend on it";
        errors.at_span(Span::call_site(), format!("{message}: run `cargo add thiserror`"));
    }
    if !input.generics.params.is_empty() {
        let message =
            "data has no generic parameters yet: write one type for each use, or own what is borrowed";
        errors.at(&input.generics, message);
    }
    if kind == Kind::Error {
        check_texts(input, errors);
    }
    check_derives(input, errors);
    check_options(options, errors);
}

/// The rules about what serde's attributes mean.
pub(crate) fn after_serde(container: &Container<'_>, errors: &mut Errors) {
    let attrs = &container.original.attrs;
    refuse_words(Place::Container, attrs, errors);
    check_conversions(container, errors);
    match &container.data {
        Data::Struct(style, fields) => {
            if let TagType::Internal { .. } = container.attrs.tag() {
                let message =
                    "a tag on a struct is written and never looked at: make it an enum, or add a field";
                errors.at_span(word_span(attrs, "tag").unwrap_or_else(Span::call_site), message);
            }
            check_fields(*style, fields, errors);
        }
        Data::Enum(variants) => variants.iter().for_each(|variant| check_variant(variant, errors)),
    }
}

/// thiserror takes a text for the whole enum, too.
fn check_texts(input: &DeriveInput, errors: &mut Errors) {
    let has_text = |attrs: &[Attribute]| attrs.iter().any(|attr| attr.path().is_ident("error"));
    let syn::Data::Enum(data) = &input.data else { return };
    if has_text(&input.attrs) {
        return;
    }
    for variant in data.variants.iter().filter(|variant| !has_text(&variant.attrs)) {
        errors.at(
            &variant.ident,
            "every variant of an error says what happened: write `#[error(\"…\")]` above it",
        );
    }
}

fn check_derives(input: &DeriveInput, errors: &mut Errors) {
    for attr in input.attrs.iter().filter(|attr| attr.path().is_ident("derive")) {
        let _ = attr.parse_nested_meta(|meta| {
            if let Some(last) = meta.path.segments.last()
                && (last.ident == "Serialize" || last.ident == "Deserialize")
            {
                errors.at(&meta.path, format!("FTL derives `{}` itself: remove it here", last.ident));
            }
            Ok(())
        });
    }
}

fn check_options(options: &Options, errors: &mut Errors) {
    if let Some(name) = &options.name
        && syn::parse_str::<syn::Ident>(&name.value()).is_err()
    {
        errors.at(name, "the name of a type in the schema is an identifier, as in Rust");
    }
    for manual in &options.manual {
        if !COMMON_TRAITS.iter().any(|known| manual == known) {
            let known = "`Debug`, `Clone` and `PartialEq`";
            errors.at(manual, format!("`{manual}` is not derived here; what is, are {known}"));
        }
    }
}

fn check_conversions(container: &Container<'_>, errors: &mut Errors) {
    let attrs = &container.attrs;
    let from = attrs.type_from().or(attrs.type_try_from());
    let text = |ty: Option<&syn::Type>| ty.map(|ty| ty.to_token_stream().to_string());
    if text(from) != text(attrs.type_into()) {
        let message = "`from` or `try_from` and `into` must name the same type: \
                       it is what the value looks like on the wire, in both directions";
        errors.at(from.or(attrs.type_into()), message);
    }
}

fn check_variant(variant: &Variant<'_>, errors: &mut Errors) {
    let attrs = &variant.original.attrs;
    refuse_words(Place::Variant, attrs, errors);
    one_name(variant.attrs.name(), attrs, variant.ident.span(), errors);
    both_ways(variant.attrs.skip_serializing(), variant.attrs.skip_deserializing(), attrs, errors);
    check_fields(variant.style, &variant.fields, errors);
}

fn check_fields(style: Style, fields: &[Field<'_>], errors: &mut Errors) {
    for field in fields {
        let attrs = &field.original.attrs;
        refuse_words(Place::Field, attrs, errors);
        both_ways(field.attrs.skip_serializing(), field.attrs.skip_deserializing(), attrs, errors);
        match style {
            Style::Struct => one_name(field.attrs.name(), attrs, field.original.span(), errors),
            Style::Newtype if field.attrs.skip_serializing() => {
                let span = word_span(attrs, "skip").unwrap_or_else(Span::call_site);
                errors.at_span(span, "nothing would be left of this value: remove the field");
            }
            // A skipped field has a default for another reason: nobody sends it.
            Style::Tuple | Style::Newtype if !field.attrs.skip_deserializing() => {
                if !matches!(field.attrs.default(), SerdeDefault::None)
                    && let Some(span) = word_span(attrs, "default")
                {
                    errors.at_span(span, "a value without a name cannot be left out: name the fields");
                }
            }
            Style::Tuple | Style::Newtype | Style::Unit => {}
        }
    }
}

fn refuse_words(place: Place, attrs: &[Attribute], errors: &mut Errors) {
    for (_, word, rule) in REFUSED.iter().filter(|(there, ..)| *there == place) {
        if let Some(span) = word_span(attrs, word) {
            errors.at_span(span, rule);
        }
    }
}

fn one_name(name: &MultiName, attrs: &[Attribute], otherwise: Span, errors: &mut Errors) {
    let (written, read) = (&name.serialize_name().value, &name.deserialize_name().value);
    if written != read {
        let span = word_span(attrs, "rename").unwrap_or(otherwise);
        errors.at_span(
            span,
            format!("written as `{written}` and read as `{read}`: a schema has one name for it"),
        );
    }
}

fn both_ways(skips_writing: bool, skips_reading: bool, attrs: &[Attribute], errors: &mut Errors) {
    if skips_writing != skips_reading {
        let word = if skips_writing { "skip_serializing" } else { "skip_deserializing" };
        let message = "skipped in one direction only, so what is written is not what is read: use `skip`";
        errors.at_span(word_span(attrs, word).unwrap_or_else(Span::call_site), message);
    }
}

/// Where a word stands in the `#[serde(…)]` attributes of an item.
pub(crate) fn word_span(attrs: &[Attribute], word: &str) -> Option<Span> {
    let lists =
        attrs.iter().filter(|attr| attr.path().is_ident("serde")).filter_map(|attr| match &attr.meta {
            Meta::List(list) => Some(list.tokens.clone()),
            _ => None,
        });
    lists.flatten().find_map(|token| match token {
        TokenTree::Ident(ident) if ident == word => Some(ident.span()),
        _ => None,
    })
}

//! `#[ftl::data]` and `#[ftl::error]`: serde's derives, and a schema that says exactly what they write and read.
//!
//! Attributes are read by serde's own parser, so the two cannot disagree about what an attribute means.

mod check;
mod expand;
mod failure;
mod fallback;
mod model;
mod options;

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use serde_derive_internals::{Ctxt, Derive, ast::Container};
use syn::DeriveInput;

use crate::diagnostics::Errors;
use crate::package::Package;
use failure::Passing;
use options::Options;

/// What a type is marked as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Data,
    Error,
}

pub(crate) fn data(package: &Package, options: TokenStream, item: TokenStream) -> TokenStream {
    derive(package, Kind::Data, options, item)
}

pub(crate) fn error(package: &Package, options: TokenStream, item: TokenStream) -> TokenStream {
    derive(package, Kind::Error, options, item)
}

fn derive(package: &Package, kind: Kind, options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = errors.keep(syn::parse2::<Options>(options)).unwrap_or_default();
    let Ok(mut input) = syn::parse2::<DeriveInput>(item.clone()) else {
        errors.at(&item, format!("`#[{}]` stands on a struct or an enum", kind.attribute()));
        let errors = errors.into_tokens();
        return quote!(#item #errors);
    };
    let mut passing = Passing::default();
    if let syn::Data::Union(data) = &input.data {
        errors.at(data.union_token, "a union does not say what it holds: use an enum");
        return fallback::fallback(kind, &options, &input, &passing, errors);
    }
    check::before_serde(package, kind, &options, &input, &mut errors);
    if kind == Kind::Error {
        passing = failure::take(&mut input, &mut errors);
    }
    let context = Ctxt::new();
    // Its derive reads the same attributes again; this name is only written into what it expands.
    let private: Ident = format_ident!("__private");
    let container = Container::from_ast(&context, &input, Derive::Deserialize, &private);
    let understood = errors.keep(context.check()).and(container);
    if let Some(container) = &understood {
        check::after_serde(container, &mut errors);
    }
    match understood.filter(|_| errors.is_empty()) {
        Some(container) => {
            let base = expand::base(kind, &options, &input);
            expand::data(kind, &model::Data::of(package, &options, &container), &passing, &base)
        }
        None => fallback::fallback(kind, &options, &input, &passing, errors),
    }
}

impl Kind {
    fn attribute(self) -> &'static str {
        match self {
            Self::Data => "ftl::data",
            Self::Error => "ftl::error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tests::package;

    fn messages(expanded: &TokenStream) -> usize {
        expanded.to_string().matches("compile_error").count()
    }

    #[test]
    fn every_mistake_is_told_at_once_and_the_type_stays() {
        let expanded = data(
            &package(),
            quote!(),
            quote! {
                struct Order {
                    #[serde(alias = "number")]
                    id: u64,
                    #[serde(flatten)]
                    rest: Rest,
                    #[serde(with = "hex")]
                    key: Vec<u8>,
                }
            },
        );
        assert_eq!(messages(&expanded), 3, "{expanded}");
        assert!(expanded.to_string().contains("struct Order"));
        assert!(expanded.to_string().contains("impl :: ftl :: Data for Order"), "a stand-in");
    }

    #[test]
    fn what_serde_refuses_is_told_once() {
        let item = quote! {
            struct A {
                #[serde(renam = "x")]
                at: u8,
            }
        };
        let expanded = data(&package(), quote!(), item);
        assert_eq!(messages(&expanded), 1, "{expanded}");
        assert_eq!(expanded.to_string().matches("renam").count(), 1, "serde's derive does not see it again");
    }

    #[test]
    fn an_error_needs_thiserror() {
        let package = Package { has_thiserror: false, ..package() };
        let expanded = error(
            &package,
            quote!(),
            quote!(
                enum E {
                    #[error("a")]
                    A,
                }
            ),
        );
        assert!(expanded.to_string().contains("cargo add thiserror"), "{expanded}");
        assert_eq!(messages(&expanded), 1);
    }
}

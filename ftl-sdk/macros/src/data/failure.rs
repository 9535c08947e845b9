//! How an error carries the failure of a call that its verb made.
//!
//! `?` on a call must end somewhere even when nobody reached the callee. A variant with a `#[failure]` field is that
//! place; an error that contains the error of a callee (`#[from]`) and has no such variant gets a hidden one. Either
//! never crosses the wire as itself: it becomes the failure of the call.

use proc_macro2::Ident;
use quote::format_ident;
use syn::{Data, DeriveInput, Field, Fields, Type, Variant, parse_quote};

use crate::diagnostics::Errors;

/// What converts into an error, and where a failure goes.
#[derive(Default)]
pub(crate) struct Passing {
    /// The variant that takes a failure.
    pub(crate) variant: Option<Ident>,
    /// The name of its field, where it has one.
    pub(crate) field: Option<Ident>,
    /// Whether the user did not write it.
    pub(crate) hidden: bool,
    /// The errors of callees.
    pub(crate) sources: Vec<Type>,
}

/// Reads and removes the `#[failure]` mark, and adds the hidden variant where it is needed.
pub(crate) fn take(input: &mut DeriveInput, errors: &mut Errors) -> Passing {
    let mut passing = Passing::default();
    let Data::Enum(data) = &mut input.data else { return passing };
    for variant in &mut data.variants {
        let sources = variant.fields.iter().filter(|field| is_marked(field, "from"));
        passing.sources.extend(sources.map(|field| field.ty.clone()));
        let marked = variant.fields.iter_mut().find(|field| is_marked(field, "failure"));
        let Some(field) = marked else { continue };
        field.attrs.retain(|attr| !attr.path().is_ident("failure"));
        let name = field.ident.clone();
        variant.attrs.push(parse_quote!(#[serde(skip)]));
        if passing.variant.is_some() {
            let message = "an error has one variant for the failure of a call: remove `#[failure]` here";
            errors.at(&variant.ident, message);
        } else if variant.fields.len() != 1 {
            let message = "a `#[failure]` stands alone in its variant: `Down(#[failure] ftl::Failure)`";
            errors.at(&variant.fields, message);
        } else {
            (passing.variant, passing.field) = (Some(variant.ident.clone()), name);
        }
    }
    if passing.variant.is_none() && !passing.sources.is_empty() {
        let hidden = hidden();
        (passing.variant, passing.hidden) = (Some(hidden.ident.clone()), true);
        data.variants.push(hidden);
    }
    passing
}

fn is_marked(field: &Field, mark: &str) -> bool {
    field.attrs.iter().any(|attr| attr.path().is_ident(mark))
}

fn hidden() -> Variant {
    let ident = format_ident!("__Failed");
    let fields: Fields = Fields::Unnamed(parse_quote!((::ftl::__private::PassedOn)));
    let mut variant: Variant = parse_quote! {
        #[doc(hidden)]
        #[error(transparent)]
        #[serde(skip)]
        #ident
    };
    variant.fields = fields;
    variant
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::ToTokens;

    fn take_from(mut input: DeriveInput) -> (Passing, String, String) {
        let mut errors = Errors::default();
        let passing = take(&mut input, &mut errors);
        (passing, input.to_token_stream().to_string(), errors.into_tokens().to_string())
    }

    #[test]
    fn an_error_that_contains_no_other_is_left_as_it_is() {
        let (passing, item, errors) = take_from(parse_quote!(
            enum E {
                #[error("a")]
                A,
            }
        ));
        assert!(passing.variant.is_none() && errors.is_empty());
        assert!(!item.contains("__Failed"), "its callers match on it exhaustively");
    }

    #[test]
    fn an_error_of_a_callee_brings_a_place_for_failures() {
        let (passing, item, _) = take_from(parse_quote!(
            enum E {
                #[error("a")]
                A(#[from] clock::NowError),
            }
        ));
        assert!(passing.hidden && passing.sources.len() == 1);
        assert!(item.contains("__Failed (:: ftl :: __private :: PassedOn)"), "{item}");
    }

    #[test]
    fn a_place_that_the_user_names_is_taken() {
        let (passing, item, _) = take_from(parse_quote! {
            enum E { #[error("a")] A(#[from] clock::NowError), #[error("{0}")] Down(#[failure] ftl::Failure) }
        });
        assert_eq!(passing.variant.unwrap(), "Down");
        assert!(!passing.hidden && !item.contains("failure") && item.contains("serde (skip)"), "{item}");
    }

    #[test]
    fn there_is_one_place() {
        let (_, _, errors) = take_from(parse_quote!(
            enum E {
                A(#[failure] ftl::Failure, u8),
                B(#[failure] ftl::Failure),
                C(#[failure] ftl::Failure),
            }
        ));
        assert_eq!(errors.matches("compile_error").count(), 2, "{errors}");
    }
}

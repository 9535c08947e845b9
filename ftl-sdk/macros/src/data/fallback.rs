//! What stands in for the code beside a type when something is wrong with it.
//!
//! Every mistake is told, and everything that uses the type stays silent: one mistake is one message.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::{Attribute, Data, DeriveInput};

use super::Kind;
use super::expand::{common_traits, data_roles, error_roles, is_derived};
use super::failure::Passing;
use super::options::Options;
use crate::diagnostics::Errors;

/// Attributes of the derives that are stood in for.
const STOOD_IN_FOR: [&str; 5] = ["serde", "error", "from", "source", "backtrace"];

/// The user's item, all mistakes, and the stand-ins.
///
/// serde's and thiserror's own derives would complain again, so their traits are stood in for, too.
pub(super) fn fallback(
    kind: Kind,
    options: &Options,
    input: &DeriveInput,
    passing: &Passing,
    errors: Errors,
) -> TokenStream {
    let (ident, errors) = (&input.ident, errors.into_tokens());
    let mut bare = input.clone();
    remove_attributes(&mut bare);
    if !input.generics.params.is_empty() || matches!(input.data, Data::Union(_)) {
        return quote!(#bare #errors);
    }
    let common = common_traits(options, input);
    let (serialize, deserialize) = serde_stand_ins(input);
    let roles = match kind {
        Kind::Data => data_roles(ident),
        Kind::Error => {
            let (roles, thiserror) = (error_roles(ident, passing), thiserror_stand_ins(ident, passing));
            quote!(#roles #thiserror)
        }
    };
    quote! {
        #errors
        const _: () = {
            impl ::ftl::Data for #ident {
                fn describe(_: &mut ::ftl::__private::Types) -> ::ftl::__private::Type {
                    ::ftl::__private::Type::Any
                }
            }
            #serialize
            #deserialize
            #roles
        };
        #[derive(#(#common),*)]
        #bare
    }
}

/// Stands in for thiserror's derive.
fn thiserror_stand_ins(ident: &Ident, passing: &Passing) -> TokenStream {
    let sources = &passing.sources;
    quote! {
        impl ::core::fmt::Display for #ident {
            fn fmt(&self, _: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                ::core::result::Result::Ok(())
            }
        }
        impl ::core::error::Error for #ident {}
        #(
            impl ::core::convert::From<#sources> for #ident {
                fn from(_: #sources) -> Self {
                    ::core::unreachable!()
                }
            }
        )*
    }
}

/// Stands in for serde's traits, unless the user derives them himself.
fn serde_stand_ins(input: &DeriveInput) -> (Option<TokenStream>, Option<TokenStream>) {
    let ident = &input.ident;
    let serialize = (!is_derived(input, "Serialize")).then(|| {
        quote! {
            impl ::ftl::__private::serde::Serialize for #ident {
                fn serialize<S: ::ftl::__private::serde::Serializer>(
                    &self, serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    serializer.serialize_unit()
                }
            }
        }
    });
    let deserialize = (!is_derived(input, "Deserialize")).then(|| {
        quote! {
            impl<'de> ::ftl::__private::serde::Deserialize<'de> for #ident {
                fn deserialize<D: ::ftl::__private::serde::Deserializer<'de>>(
                    _: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    ::core::result::Result::Err(::ftl::__private::serde::de::Error::custom(""))
                }
            }
        }
    });
    (serialize, deserialize)
}

fn remove_attributes(input: &mut DeriveInput) {
    let is_kept = |attr: &Attribute| !STOOD_IN_FOR.iter().any(|name| attr.path().is_ident(name));
    input.attrs.retain(is_kept);
    match &mut input.data {
        Data::Struct(data) => data.fields.iter_mut().for_each(|field| field.attrs.retain(is_kept)),
        Data::Enum(data) => data.variants.iter_mut().for_each(|variant| {
            variant.attrs.retain(is_kept);
            variant.fields.iter_mut().for_each(|field| field.attrs.retain(is_kept));
        }),
        Data::Union(data) => data.fields.named.iter_mut().for_each(|field| field.attrs.retain(is_kept)),
    }
}

//! The code beside a type: a constant table that describes it, and the traits that hand the table out.
//!
//! All of it is `#[inline]`, for the reason that `verb::expand` gives.
//!
//! The schema comes before serde's derives, so that of several complaints about a field ours is the first.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::{DeriveInput, Type};

use super::Kind;
use super::check::COMMON_TRAITS;
use super::failure::Passing;
use super::model::{Data, Field, Fields, Shape, Tagging, Variant};
use super::options::Options;
use crate::diagnostics::projection;

/// The user's item with the derives it needs.
pub(crate) fn base(kind: Kind, options: &Options, input: &DeriveInput) -> TokenStream {
    let common = common_traits(options, input);
    let thiserror = (kind == Kind::Error).then(|| quote!(::thiserror::Error,));
    quote! {
        #[derive(#(#common,)* #thiserror ::ftl::__private::serde::Serialize, ::ftl::__private::serde::Deserialize)]
        #[serde(crate = "::ftl::__private::serde")]
        #input
    }
}

/// The traits that are derived because nobody else does.
pub(super) fn common_traits(options: &Options, input: &DeriveInput) -> Vec<Ident> {
    let missing = COMMON_TRAITS.iter().filter(|name| !is_derived(input, name) && !is_manual(options, name));
    missing.map(|name| format_ident!("{name}")).collect()
}

pub(crate) fn data(kind: Kind, data: &Data, passing: &Passing, base: &TokenStream) -> TokenStream {
    let Data { ident, name, docs, .. } = data;
    let shape = shape(&data.shape);
    let describe = quote! {
        #[inline]
        fn describe(types: &mut ::ftl::__private::Types) -> ::ftl::__private::Type {
            use ::ftl::__private::blueprint as __blueprint;
            types.define::<Self>(const { &__blueprint::Blueprint { name: #name, docs: #docs, shape: #shape } })
        }
    };
    let roles = match kind {
        Kind::Data => data_roles(ident),
        Kind::Error => error_roles(ident, passing),
    };
    quote! {
        const _: () = {
            #[automatically_derived]
            impl ::ftl::Data for #ident {
                #describe
            }
            #roles
        };
        #base
    }
}

/// What a type is for verbs when it is data.
pub(super) fn data_roles(ident: &Ident) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl ::ftl::Param for #ident {
            type Role = ::ftl::__private::Request<Self>;
            #[inline]
            fn take(incoming: &mut ::ftl::__private::Incoming) -> ::core::result::Result<Self, ::ftl::Failure> {
                incoming.request()
            }
        }
        #[automatically_derived]
        impl ::ftl::Output for #ident {
            type Reply = Self;
            type Error = ::core::convert::Infallible;
            #[inline]
            fn into_result(self) -> ::core::result::Result<Self, ::core::convert::Infallible> {
                ::core::result::Result::Ok(self)
            }
        }
    }
}

/// What a type is for verbs when it is an error.
pub(super) fn error_roles(ident: &Ident, passing: &Passing) -> TokenStream {
    let raise = raise(passing);
    let conversions = conversions(ident, passing);
    quote! {
        #[automatically_derived]
        impl ::ftl::VerbError for #ident {
            type Contract = Self;
            #[inline]
            fn raise(self) -> ::ftl::CallError<Self> {
                #raise
            }
        }
        #conversions
    }
}

fn raise(passing: &Passing) -> TokenStream {
    let Some(variant) = &passing.variant else { return quote!(::ftl::CallError::Verb(self)) };
    let pattern = match &passing.field {
        Some(field) => quote!(Self::#variant { #field: failure }),
        None => quote!(Self::#variant(failure)),
    };
    quote! {
        match self {
            #pattern => ::ftl::CallError::Failed(::ftl::Failure::from(failure).passed_on()),
            error => ::ftl::CallError::Verb(error),
        }
    }
}

/// `?` on a call: the callee's own error becomes the variant that contains it, a failure goes to its place.
fn conversions(ident: &Ident, passing: &Passing) -> TokenStream {
    let Some(variant) = &passing.variant else { return TokenStream::new() };
    let value = if passing.hidden { quote!(failure.into()) } else { quote!(failure) };
    let place = match &passing.field {
        Some(field) => quote!(Self::#variant { #field: #value }),
        None => quote!(Self::#variant(#value)),
    };
    let infallible: Type = syn::parse_quote!(::core::convert::Infallible);
    let from_calls = passing.sources.iter().map(|source| {
        quote! {
            #[automatically_derived]
            impl ::core::convert::From<::ftl::CallError<#source>> for #ident {
                #[inline]
                fn from(error: ::ftl::CallError<#source>) -> Self {
                    match error {
                        ::ftl::CallError::Verb(error) => ::core::convert::From::from(error),
                        ::ftl::CallError::Failed(failure) => ::core::convert::From::from(failure),
                    }
                }
            }
        }
    });
    quote! {
        #[automatically_derived]
        impl ::core::convert::From<::ftl::Failure> for #ident {
            #[inline]
            fn from(failure: ::ftl::Failure) -> Self {
                #place
            }
        }
        #[automatically_derived]
        impl ::core::convert::From<::ftl::CallError<#infallible>> for #ident {
            #[inline]
            fn from(error: ::ftl::CallError<#infallible>) -> Self {
                match error {
                    ::ftl::CallError::Verb(never) => match never {},
                    ::ftl::CallError::Failed(failure) => ::core::convert::From::from(failure),
                }
            }
        }
        #(#from_calls)*
    }
}

fn shape(shape: &Shape) -> TokenStream {
    match shape {
        Shape::Struct(fields) => {
            let fields = self::fields(fields);
            quote!(__blueprint::Shape::Struct(#fields))
        }
        Shape::Enum { tagging, variants } => {
            let tagging = self::tagging(tagging);
            let variants = variants.iter().map(variant);
            quote!(__blueprint::Shape::Enum { tagging: #tagging, variants: &[#(#variants),*] })
        }
    }
}

fn tagging(tagging: &Tagging) -> TokenStream {
    match tagging {
        Tagging::External => quote!(__blueprint::Tagging::External),
        Tagging::Internal { tag } => quote!(__blueprint::Tagging::Internal { tag: #tag }),
        Tagging::Adjacent { tag, content } => {
            quote!(__blueprint::Tagging::Adjacent { tag: #tag, content: #content })
        }
    }
}

fn variant(Variant { name, docs, fields }: &Variant) -> TokenStream {
    let fields = self::fields(fields);
    quote!(__blueprint::Variant { name: #name, docs: #docs, fields: #fields })
}

fn fields(fields: &Fields) -> TokenStream {
    match fields {
        Fields::Unit => quote!(__blueprint::Fields::Unit),
        Fields::Newtype(ty) => {
            let ty = describe(ty);
            quote!(__blueprint::Fields::Newtype(#ty))
        }
        Fields::Tuple(types) => {
            let types = types.iter().map(describe);
            quote!(__blueprint::Fields::Tuple(&[#(#types),*]))
        }
        Fields::Named(fields) => {
            let fields = fields.iter().map(field);
            quote!(__blueprint::Fields::Named(&[#(#fields),*]))
        }
    }
}

fn field(Field { name, docs, ty, has_default, may_be_skipped }: &Field) -> TokenStream {
    let describe = describe(ty);
    let absence = if *has_default {
        quote!(__blueprint::Absence::Accepted)
    } else {
        let ask = quote!(::ftl::__private::accepts_absence::<#ty>);
        quote!(__blueprint::Absence::Ask(#ask))
    };
    quote! {
        __blueprint::Field {
            name: #name, docs: #docs, describe: #describe, absence: #absence, may_be_skipped: #may_be_skipped
        }
    }
}

fn describe(ty: &Type) -> TokenStream {
    projection(ty, quote!(::ftl::Data), quote!(describe))
}

pub(super) fn is_derived(input: &DeriveInput, name: &str) -> bool {
    let derives = input.attrs.iter().filter(|attr| attr.path().is_ident("derive"));
    let mut found = false;
    for attr in derives {
        let _ = attr.parse_nested_meta(|meta| {
            found |= meta.path.segments.last().is_some_and(|segment| segment.ident == name);
            Ok(())
        });
    }
    found
}

fn is_manual(options: &Options, name: &str) -> bool {
    options.manual.iter().any(|manual| manual == name)
}

//! The code beside a verb.
//!
//! Everything that a caller's crate may link is `#[inline]`, and so is the function: then a caller's binary takes
//! nothing out of the callee's object files but what it needs, and keeps its digest when a verb's body is edited.
//!
//! Which parameter is the request is not read from tokens: each parameter's type says its role, and the expansion
//! folds the roles into `Verb::Request`. Everything that the compiler may complain about is spanned at the type that
//! it complains about; the whole of `type Request = …;` is spanned at the first parameter, or one mistake would be
//! told three times.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::Visibility;
use syn::spanned::Spanned;

use super::model::{Param, Verb};
use crate::diagnostics::{Errors, projection};

pub(crate) fn verb(verb: &Verb<'_>, item: &TokenStream) -> TokenStream {
    let Verb { marker, name, docs, cfgs, idempotent, blocking, .. } = verb;
    let (request, reply) = (request_of(verb), reply_of(verb));
    let type_beside = type_beside(verb);
    let declares = verb.params.iter().map(|Param { ty, .. }| {
        let declare = projection(ty, quote!(::ftl::Param), quote!(declare));
        quote!(#declare(declaration);)
    });
    let run = run(verb);
    let visibility = visibility(verb);
    let inline = (!verb.is_inline).then(|| quote!(#[inline]));
    quote! {
        #inline
        #item
        #type_beside
        #(#cfgs)*
        #[allow(deprecated, reason = "a deprecated verb is still served")]
        const _: () = {
            impl ::ftl::Verb for #marker {
                #request
                #reply
                const MODULE: &'static str = crate::__write_ftl_module_in_lib_rs::NAME;
                const NAME: &'static str = #name;
                const IDEMPOTENT: bool = #idempotent;
            }
            impl ::ftl::__private::Serve<crate::__write_ftl_module_in_lib_rs::Id> for #marker {
                const DEFINITION: ::ftl::__private::Definition = ::ftl::__private::Definition {
                    name: #name,
                    docs: #docs,
                    visibility: ::ftl::__private::Visibility::#visibility,
                    blocking: #blocking,
                    describe: ::ftl::__private::describe::<#marker>,
                    declare: |declaration| { #(#declares)* let _ = declaration; },
                    run: #run,
                };
            }
        };
    }
}

/// The user's function, all mistakes, and stand-ins that keep everything that refers to the verb silent.
pub(crate) fn fallback(verb: &Verb<'_>, item: &TokenStream, errors: Errors) -> TokenStream {
    let Verb { marker, name, cfgs, .. } = verb;
    let (type_beside, errors) = (type_beside(verb), errors.into_tokens());
    if verb.is_method {
        // Types cannot stand where a method stands.
        return quote!(#item #errors);
    }
    quote! {
        #item
        #errors
        #type_beside
        #(#cfgs)*
        const _: () = {
            impl ::ftl::Verb for #marker {
                type Request = ();
                type Reply = ();
                type Error = ::core::convert::Infallible;
                const MODULE: &'static str = "";
                const NAME: &'static str = #name;
                const IDEMPOTENT: bool = false;
            }
            impl<Module> ::ftl::__private::Serve<Module> for #marker {
                const DEFINITION: ::ftl::__private::Definition =
                    ::ftl::__private::Definition::broken::<#marker>();
            }
        };
    }
}

/// The type of the verb, for `Client<verb>`. It has no variants: an empty struct would put a constructor beside the
/// function, and would be reported as never built.
fn type_beside(verb: &Verb<'_>) -> TokenStream {
    let Verb { marker, name, visibility, cfgs, .. } = verb;
    // At the function's own name, so that the compiler reports it there when it is not used.
    let listed = quote_spanned! {verb.function.span()=>
        #[doc(hidden)]
        #[allow(non_upper_case_globals, reason = "the compiler shows this name when it is not used")]
        pub(crate) const add_this_verb_to_the_list_in_ftl_module: () = ();
    };
    let link = format!("The type of the verb [`{name}`](fn@{}), for `ftl::Client`.", verb.function);
    quote! {
        #(#cfgs)*
        #[doc = #link]
        #[allow(non_camel_case_types, reason = "a verb and its type share one name")]
        #[derive(Clone, Copy, Debug)]
        #visibility enum #marker {}

        #(#cfgs)*
        impl #marker {
            #listed
        }
    }
}

fn request_of(verb: &Verb<'_>) -> TokenStream {
    let fold = verb.params.iter().rev().fold(quote!(::ftl::__private::Injected), |rest, Param { ty, .. }| {
        let role = projection(ty, quote!(::ftl::Param), quote!(Role));
        projection(&role, quote!(::ftl::__private::Join<#rest>), quote!(Out))
    });
    let request = projection(&fold, quote!(::ftl::__private::Roles), quote!(Request));
    let span = verb.params.first().map_or_else(|| verb.function.span(), |param| param.ty.span());
    quote_spanned!(span=> type Request = #request;)
}

fn reply_of(verb: &Verb<'_>) -> TokenStream {
    let output = output_of(verb);
    let reply = projection(&output, quote!(::ftl::Output), quote!(Reply));
    let error = projection(&output, quote!(::ftl::Output), quote!(Error));
    let contract = projection(&error, quote!(::ftl::VerbError), quote!(Contract));
    quote_spanned! {output.span()=>
        type Reply = #reply;
        type Error = #contract;
    }
}

/// The type that the function returns.
fn output_of(verb: &Verb<'_>) -> TokenStream {
    verb.output.map_or_else(|| quote_spanned!(verb.function.span()=> ()), ToTokens::to_token_stream)
}

fn run(verb: &Verb<'_>) -> TokenStream {
    let (function, output) = (verb.function, output_of(verb));
    let takes = verb.params.iter().map(|Param { variable, ty, .. }| {
        let take = projection(ty, quote!(::ftl::Param), quote!(take));
        quote!(let #variable = #take(&mut incoming)?;)
    });
    let arguments = verb.params.iter().map(
        |Param { variable, lent, .. }| {
            if *lent { quote!(&#variable) } else { quote!(#variable) }
        },
    );
    let mutable = (!verb.params.is_empty()).then(|| quote!(mut));
    let unused = verb.params.is_empty().then(|| quote!(let _ = incoming;));
    quote! {
        |#mutable incoming| ::std::boxed::Box::pin(async move {
            #unused
            #(#takes)*
            ::ftl::__private::finish::<#output>(#function(#(#arguments),*).await)
        })
    }
}

fn visibility(verb: &Verb<'_>) -> TokenStream {
    match verb.visibility {
        _ if verb.public => quote!(Public),
        Visibility::Public(_) => quote!(System),
        _ => quote!(Module),
    }
}

//! `ftl::module!`: the identity of a module, and the list of the verbs that its binary contains.

use proc_macro2::{Ident, TokenStream};
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Attribute, Path, Token, bracketed};

use crate::diagnostics::{Errors, respan};
use crate::docs;
use crate::package::Package;

const USAGE: &str = "a module lists its verbs: `ftl::module! { verbs: [first, second] }`";

/// One verb of the list, with the `cfg` attributes before it.
struct Listed {
    attrs: Vec<Attribute>,
    path: Path,
}

struct Model {
    docs: String,
    verbs: Vec<Listed>,
}

pub(crate) fn module(package: &Package, input: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let parsed = errors.keep(syn::parse2::<Model>(input));
    let model = parsed.unwrap_or_else(|| Model { docs: String::new(), verbs: Vec::new() });
    let name = package.module_name();
    check_name(&name, &mut errors);
    check_duplicates(&model, &mut errors);
    let (module, errors) = (expand(&model, &name), errors.into_tokens());
    quote!(#module #errors)
}

impl Parse for Listed {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self { attrs: input.call(Attribute::parse_outer)?, path: input.parse()? })
    }
}

impl Parse for Model {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let usage = |error: syn::Error| syn::Error::new(error.span(), USAGE);
        let key: Ident = input.parse().map_err(usage)?;
        if key != "verbs" {
            return Err(syn::Error::new(key.span(), format!("unknown key `{key}`; {USAGE}")));
        }
        input.parse::<Token![:]>().map_err(usage)?;
        let list;
        bracketed!(list in input);
        let verbs = Punctuated::<Listed, Token![,]>::parse_terminated(&list).map_err(usage)?;
        input.parse::<Option<Token![,]>>()?;
        if !input.is_empty() {
            return Err(input.error(USAGE));
        }
        Ok(Self { docs: docs::text_of(&attrs), verbs: verbs.into_iter().collect() })
    }
}

fn check_name(name: &str, errors: &mut Errors) {
    let legal = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !legal || name == "ftl" {
        let message = format!(
            "a module is named after its package, and `{name}` is no module name: rename the package; \
             lower-case letters, digits, `-` and `_`, beginning with a letter, and not `ftl`"
        );
        errors.at_span(proc_macro2::Span::call_site(), message);
    }
}

fn check_duplicates(model: &Model, errors: &mut Errors) {
    let name = |listed: &Listed| listed.path.segments.last().map(|segment| segment.ident.clone());
    for (index, listed) in model.verbs.iter().enumerate() {
        let conditional = !listed.attrs.is_empty();
        let earlier = model.verbs[..index].iter().any(|other| name(other) == name(listed));
        if let Some(verb) = name(listed)
            && earlier
            && !conditional
        {
            errors.at(
                &listed.path,
                format!("`{verb}` is listed twice; the verbs of a module have different names"),
            );
        }
    }
}

fn expand(model: &Model, name: &str) -> TokenStream {
    let docs = &model.docs;
    let identity = format_ident!("__write_ftl_module_in_lib_rs");
    let about = format!("The module `{name}`: hand it to `ftl::serve`.");
    let definitions = model.verbs.iter().map(|Listed { attrs, path }| {
        quote!(#(#attrs)* &<#path as ::ftl::__private::Serve<#identity::Id>>::DEFINITION)
    });
    let listed = model.verbs.iter().map(|Listed { attrs, path }| {
        let constant = respan(quote!(::add_this_verb_to_the_list_in_ftl_module), path.span());
        quote!(#(#attrs)* #path #constant)
    });
    quote! {
        #[doc(hidden)]
        pub mod #identity {
            #[derive(Debug)]
            pub enum Id {}
            pub const NAME: &str = #name;
        }

        #[doc = #about]
        pub const MODULE: ::ftl::Module =
            ::ftl::__private::module(#identity::NAME, #docs, &[#(#definitions),*]);

        const _: &[()] = &[#(#listed),*];

        #[cfg(test)]
        mod ftl_module {
            #[test]
            fn has_a_schema() {
                ::ftl::__private::assert_schema(&super::MODULE);
            }
        }
    }
}

//! `#[ftl::verb]`: the contract of an async function as a type of the same name, and how to run it.

mod check;
mod expand;
mod model;

use proc_macro2::TokenStream;
use quote::quote;

use crate::diagnostics::Errors;
use crate::package::Package;
use model::{Function, Options, Verb};

pub(crate) const USAGE: &str = "a verb is a plain async function:\n    \
     #[ftl::verb] pub async fn name(request: Request, other: ftl::Client<module::verb>) -> Result<Reply, Error>";

pub(crate) fn verb(package: &Package, options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let options = errors.keep(syn::parse2::<Options>(options)).unwrap_or_default();
    let Ok(function) = syn::parse2::<Function>(item.clone()) else {
        errors.at(&item, USAGE);
        let errors = errors.into_tokens();
        return quote!(#item #errors);
    };
    check::check(package, &options, &function, &mut errors);
    let verb = Verb::of(&options, &function);
    if errors.is_empty() { expand::verb(&verb, &item) } else { expand::fallback(&verb, &item, errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(options: TokenStream, item: TokenStream) -> String {
        verb(&crate::package::tests::package(), options, item).to_string()
    }

    #[test]
    fn an_unfinished_body_still_expands() {
        let item: TokenStream =
            "pub async fn hello(request: HelloRequest) -> HelloReply { request. }".parse().unwrap();
        let expanded = expand(TokenStream::new(), item.clone());
        assert!(expanded.starts_with(&format!("# [inline] {item}")), "the function first, as it was written");
        assert!(expanded.contains("impl :: ftl :: Verb for hello"));
        assert!(!expanded.contains("compile_error"));
    }

    #[test]
    fn every_mistake_is_told_at_once_and_the_function_stays() {
        let item = quote! { fn hello<T>(a: &mut u8, b: impl Into<u8>) -> impl Clone {} };
        let expanded = expand(quote!(publik), item.clone());
        assert_eq!(expanded.matches("compile_error").count(), 6, "{expanded}");
        assert!(expanded.starts_with(&item.to_string()));
        assert!(
            expanded.contains("impl :: ftl :: Verb for hello"),
            "a stand-in, so that nothing else complains"
        );
        let method = expand(quote!(), quote! { async fn hello(&self) {} });
        assert!(!method.contains("impl"), "nothing can stand beside a method: {method}");
    }

    #[test]
    fn what_is_no_function_stays_too() {
        let expanded = expand(
            TokenStream::new(),
            quote!(
                struct Hello;
            ),
        );
        assert!(expanded.starts_with("struct Hello ;"));
        assert!(expanded.contains("a verb is a plain async function"));
    }
}

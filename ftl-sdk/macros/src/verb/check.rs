//! The rules of a verb. What the compiler's own trait solver can say better is left to it.

use syn::ext::IdentExt;
use syn::visit::{self, Visit};
use syn::{FnArg, Safety, Signature, Type, TypeImplTrait, Visibility};

use super::model::{Function, Options};
use crate::diagnostics::Errors;
use crate::package::Package;

pub(crate) fn check(package: &Package, options: &Options, function: &Function, errors: &mut Errors) {
    check_kind(&function.signature, errors);
    check_name(package, options, &function.signature, errors);
    for input in &function.signature.inputs {
        check_parameter(input, errors);
    }
    let advice = "name the type that the verb returns; streams are not supported yet: return a `Vec<T>`";
    ImplTraits { errors, advice }.visit_return_type(&function.signature.output);
    if let Some(option) = &options.public
        && !matches!(function.visibility, Visibility::Public(_))
    {
        let message =
            "`public` opens a verb to callers outside the system, and this function is not even `pub`";
        errors.at(option, format!("{message}: write `pub async fn`"));
    }
}

fn check_kind(signature: &Signature, errors: &mut Errors) {
    if signature.asyncness.is_none() {
        errors.at(signature.fn_token, "a verb is async: write `async fn`");
    }
    if let Some(token) = &signature.constness {
        errors.at(token, "a verb is not `const`: remove it");
    }
    if !matches!(signature.safety, Safety::Default) {
        errors.at(&signature.safety, "a verb is not `unsafe`: anybody may call it");
    }
    if let Some(abi) = &signature.abi {
        errors.at(abi, "a verb has no ABI of its own: remove `extern`");
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        let message =
            "a verb has no generic parameters: its schema needs one exact request and one exact reply";
        errors.at(&signature.generics, message);
    }
}

fn check_name(package: &Package, options: &Options, signature: &Signature, errors: &mut Errors) {
    let name = signature.ident.unraw().to_string();
    let legal = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 100
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if !legal {
        let rule = "lower-case letters, digits and `_`, beginning with a letter";
        errors.at(&signature.ident, format!("`{name}` cannot be the name of a verb: {rule}"));
    }
    if options.alias.is_none() && package.crate_name.as_ref() == Some(&name) {
        let alias = camel(&name);
        let message = format!(
            "the verb `{name}` has the name of its crate: `use {name}::{name}` would hide the crate from its callers\n\
             help: name the type of the verb: `#[ftl::verb(alias = {alias})]`; callers then write \
             `ftl::Client<{name}::{alias}>`, and `ftl::module!` lists `{alias}`"
        );
        errors.at(&signature.ident, message);
    }
}

fn check_parameter(input: &FnArg, errors: &mut Errors) {
    let typed = match input {
        FnArg::Receiver(receiver) => {
            let remedy = "give it what it needs as parameters, see `ftl::Inject`";
            return errors.at(receiver, format!("a verb is a free function, it has no `self`: {remedy}"));
        }
        FnArg::Typed(typed) => typed,
    };
    if let Type::Reference(reference) = &*typed.ty
        && reference.mutability.is_some()
    {
        errors.at(&typed.ty, "a verb does not change its parameters for anybody: take it by value or by `&`");
    }
    let advice = "a parameter of a verb has a named type; streams are not supported yet: take a `Vec<T>`";
    ImplTraits { errors, advice }.visit_type(&typed.ty);
}

/// Finds `impl Trait`, however deep: it has no name that a schema could use.
struct ImplTraits<'a> {
    errors: &'a mut Errors,
    advice: &'static str,
}

impl<'ast> Visit<'ast> for ImplTraits<'_> {
    fn visit_type_impl_trait(&mut self, found: &'ast TypeImplTrait) {
        self.errors.at(found, format!("`impl Trait` has no name for the schema: {}", self.advice));
        visit::visit_type_impl_trait(self, found);
    }
}

/// `say_hello` as `SayHello`.
fn camel(name: &str) -> String {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str())
    };
    name.split('_').filter_map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::tests::package;
    use quote::quote;

    fn mistakes(options: proc_macro2::TokenStream, function: proc_macro2::TokenStream) -> String {
        let mut errors = Errors::default();
        check(&package(), &syn::parse2(options).unwrap(), &syn::parse2(function).unwrap(), &mut errors);
        errors.into_tokens().to_string()
    }

    #[test]
    fn a_plain_verb_has_no_mistakes() {
        for function in [
            quote!(
                async fn now() {}
            ),
            quote!(
                pub async fn hello(HelloRequest { name }: HelloRequest, now: &ftl::Client<clock::now>) -> u8 {
                }
            ),
            quote!(
                pub(crate) async fn r#type(_: &ftl::Context) -> Result<(), E> {}
            ),
        ] {
            assert_eq!(mistakes(quote!(), function), "");
        }
    }

    #[test]
    fn a_verb_must_not_be_called_like_its_crate() {
        let found = mistakes(
            quote!(),
            quote!(
                pub async fn my_shop() {}
            ),
        );
        assert!(found.contains("#[ftl::verb(alias = MyShop)]"), "{found}");
        assert_eq!(
            mistakes(
                quote!(alias = MyShop),
                quote!(
                    pub async fn my_shop() {}
                )
            ),
            ""
        );
    }

    #[test]
    fn impl_trait_is_found_inside() {
        let found = mistakes(
            quote!(),
            quote!(
                async fn ticks() -> Result<impl Stream<Item = u8>, E> {}
            ),
        );
        assert!(found.contains("streams are not supported yet"), "{found}");
    }

    #[test]
    fn only_what_is_exported_can_be_public() {
        assert!(
            mistakes(
                quote!(public),
                quote!(
                    pub(crate) async fn a() {}
                )
            )
            .contains("not even `pub`")
        );
        assert_eq!(
            mistakes(
                quote!(public, idempotent),
                quote!(
                    pub async fn a() {}
                )
            ),
            ""
        );
    }
}

//! What a verb is, read from a function whose body is not looked at.

use proc_macro2::{Ident, TokenStream};
use quote::format_ident;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, FnArg, ReturnType, Signature, Token, Type, Visibility};

use crate::docs;

/// The options in the brackets of the attribute.
#[derive(Default)]
pub(crate) struct Options {
    pub(crate) public: Option<Ident>,
    pub(crate) idempotent: Option<Ident>,
    pub(crate) blocking: Option<Ident>,
    pub(crate) alias: Option<Ident>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let word: Ident = input.call(Ident::parse_any)?;
            match word.to_string().as_str() {
                "public" => options.public = Some(word),
                "idempotent" => options.idempotent = Some(word),
                "blocking" => options.blocking = Some(word),
                "alias" => {
                    input.parse::<Token![=]>()?;
                    options.alias = Some(input.parse()?);
                }
                other => {
                    let message = format!(
                        "unknown option `{other}`; a verb knows `public`, `idempotent`, `blocking` and `alias = Name`"
                    );
                    return Err(syn::Error::new(word.span(), message));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

/// A function. Its body stays tokens: it may be unfinished while somebody types it.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let signature = input.parse()?;
        input.parse::<TokenStream>()?;
        Ok(Self { attrs, visibility, signature })
    }
}

/// A verb, ready to be expanded.
pub(crate) struct Verb<'a> {
    /// The function.
    pub(crate) function: &'a Ident,
    /// The type beside it.
    pub(crate) marker: Ident,
    /// The name in calls.
    pub(crate) name: String,
    pub(crate) visibility: &'a Visibility,
    pub(crate) docs: String,
    /// Whether it says itself how it is inlined.
    pub(crate) is_inline: bool,
    /// Whether it has a `self`, which no verb has.
    pub(crate) is_method: bool,
    /// Its `cfg` attributes, which everything beside it needs too.
    pub(crate) cfgs: Vec<&'a Attribute>,
    pub(crate) params: Vec<Param<'a>>,
    /// What it returns; `None` is `()`.
    pub(crate) output: Option<&'a Type>,
    pub(crate) public: bool,
    pub(crate) idempotent: bool,
    pub(crate) blocking: bool,
}

/// A parameter: its type without the `&`, and whether it is lent.
pub(crate) struct Param<'a> {
    pub(crate) variable: Ident,
    pub(crate) ty: &'a Type,
    pub(crate) lent: bool,
}

impl<'a> Verb<'a> {
    pub(crate) fn of(options: &Options, function: &'a Function) -> Self {
        let signature = &function.signature;
        Self {
            function: &signature.ident,
            marker: options.alias.clone().unwrap_or_else(|| signature.ident.clone()),
            name: signature.ident.unraw().to_string(),
            visibility: &function.visibility,
            docs: docs::text_of(&function.attrs),
            is_inline: function.attrs.iter().any(|attr| attr.path().is_ident("inline")),
            is_method: signature.receiver().is_some(),
            cfgs: function.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect(),
            params: signature.inputs.iter().enumerate().filter_map(Param::of).collect(),
            output: match &signature.output {
                ReturnType::Default => None,
                ReturnType::Type(_, ty) => Some(ty),
            },
            public: options.public.is_some(),
            idempotent: options.idempotent.is_some(),
            blocking: options.blocking.is_some(),
        }
    }
}

impl<'a> Param<'a> {
    fn of((index, input): (usize, &'a FnArg)) -> Option<Self> {
        let FnArg::Typed(typed) = input else { return None };
        let variable = format_ident!("parameter_{index}");
        Some(match &*typed.ty {
            Type::Reference(reference) => Self { variable, ty: &reference.elem, lent: true },
            ty => Self { variable, ty, lent: false },
        })
    }
}

//! The options in the brackets of `#[ftl::data(…)]` and `#[ftl::error(…)]`.

use proc_macro2::Ident;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{LitStr, Token, parenthesized};

/// The options.
#[derive(Default)]
pub(crate) struct Options {
    /// The name in the schema.
    pub(crate) name: Option<LitStr>,
    /// The traits that the user implements.
    pub(crate) manual: Vec<Ident>,
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            let word: Ident = input.call(Ident::parse_any)?;
            match word.to_string().as_str() {
                "name" => {
                    input.parse::<Token![=]>()?;
                    options.name = Some(input.parse()?);
                }
                "manual" => {
                    let list;
                    parenthesized!(list in input);
                    options.manual =
                        Punctuated::<Ident, Token![,]>::parse_terminated(&list)?.into_iter().collect();
                }
                other => {
                    let known = "the attribute knows `name = \"Other\"` and `manual(Trait)`";
                    return Err(syn::Error::new(word.span(), format!("unknown option `{other}`; {known}")));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

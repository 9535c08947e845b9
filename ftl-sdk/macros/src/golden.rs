//! What the macros write, as a reader sees it: the code beside a verb, its data and its error.

use proc_macro2::TokenStream;
use quote::quote;

use crate::data as types;
use crate::module as modules;
use crate::package::tests::package;
use crate::verb as verbs;

fn pretty(expanded: TokenStream) -> String {
    prettyplease::unparse(&syn::parse2(expanded).unwrap())
}

#[test]
fn a_module() {
    let list = quote! {
        /// Sells things.
        verbs: [buy, #[cfg(test)] stock::count]
    };
    insta::assert_snapshot!(pretty(modules::module(&package(), list)));
}

#[test]
fn a_verb() {
    let function = quote! {
        /// Buys something.
        pub async fn buy(order: Order, stock: &ftl::Client<stock::take>) -> Result<Receipt, BuyError> {
            stock.call(order).await
        }
    };
    insta::assert_snapshot!(pretty(verbs::verb(&package(), quote!(public, idempotent), function)));
}

#[test]
fn data_of_a_struct() {
    let item = quote! {
        /// What somebody wants.
        #[serde(rename_all = "camelCase")]
        pub struct Order {
            /// Which things.
            pub item_ids: Vec<u64>,
            #[serde(default)]
            pub note: String,
        }
    };
    insta::assert_snapshot!(pretty(types::data(&package(), quote!(), item)));
}

#[test]
fn an_error() {
    let item = quote! {
        pub enum BuyError {
            #[error("sold out")]
            SoldOut,
            #[error("stock: {0}")]
            Stock(#[from] stock::TakeError),
        }
    };
    insta::assert_snapshot!(pretty(types::error(&package(), quote!(), item)));
}

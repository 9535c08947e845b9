//! Everything that is wrong with one item, collected, so that one compile shows all of it.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;
use syn::Error;
use syn::spanned::Spanned;

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Adds a mistake at these tokens; `message` names the rule and the remedy.
    pub(crate) fn at(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.push(Error::new_spanned(tokens, message));
    }

    /// Adds a mistake at this span.
    pub(crate) fn at_span(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(Error::new(span, message));
    }

    pub(crate) fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            none => *none = Some(error),
        }
    }

    /// The value of a step that may fail, or its mistake put beside the others.
    pub(crate) fn keep<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The mistakes as code that does not compile; nothing when there are none.
    pub(crate) fn into_tokens(self) -> TokenStream {
        self.0.map(Error::into_compile_error).unwrap_or_default()
    }
}

/// The span of a whole type or path, not only of its first token where the compiler can join them.
pub(crate) fn span_of(tokens: &impl ToTokens) -> Span {
    tokens.span()
}

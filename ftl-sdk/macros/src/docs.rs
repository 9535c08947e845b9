//! Documentation comments as text.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The documentation of an item: its `///` lines, each without the space that follows the slashes.
pub(crate) fn text_of(attrs: &[Attribute]) -> String {
    let lines: Vec<String> = attrs.iter().filter_map(line_of).collect();
    lines.join("\n").trim().to_owned()
}

fn line_of(attr: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attr.meta else { return None };
    let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &meta.value else { return None };
    let text = text.value();
    meta.path.is_ident("doc").then(|| text.strip_prefix(' ').unwrap_or(&text).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::parse_quote;

    #[test]
    fn lines_are_joined_and_other_attributes_ignored() {
        let item: syn::ItemStruct = parse_quote! {
            /// First.
            #[non_exhaustive]
            ///
            ///   indented
            struct Unit;
        };
        assert_eq!(text_of(&item.attrs), "First.\n\n  indented");
    }
}

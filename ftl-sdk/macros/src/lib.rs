//! The macros of the FTL SDK. This file only wires: each macro is a pure function on tokens in a module of its own.
//!
//! All of them have the same four steps: *parse* what the user wrote, *check* every rule and collect what is broken,
//! build a *model*, and *expand* it. When something is broken, the user's item is still emitted, with every error at
//! its token and stand-ins for what other code may refer to, so that one mistake gives one message.
//!
//! Users find these macros in the crate `ftl`; nothing here depends on it, the expansions name it as `::ftl`.

mod data;
mod diagnostics;
mod docs;
#[cfg(test)]
mod golden;
mod module;
mod package;
mod verb;

use proc_macro::TokenStream;

use package::Package;

/// Declares that this crate is a module, and lists the verbs that it serves. Stands once, in `lib.rs`.
///
/// ```text
/// ftl::module! {
///     /// Says hello, with the time.
///     verbs: [hello, goodbye]
/// }
/// ```
///
/// Makes the constant `MODULE`, which `main.rs` hands to `ftl::serve`, and a unit test that builds the schema. The
/// name of the module is the name of the package, with `-` read as `_`. A verb that is not listed is not served;
/// the compiler says of its constant `add_this_verb_to_the_list_in_ftl_module` that it is never used.
#[proc_macro]
pub fn module(input: TokenStream) -> TokenStream {
    module::module(&Package::current(), input.into()).into()
}

/// Makes an async function a verb.
///
/// ```text
/// #[ftl::verb]
/// pub async fn name(request: Request, other: ftl::Client<module::verb>) -> Result<Reply, Error>
/// ```
///
/// The function stays as it is; beside it stands a type of the same name, for `ftl::Client<name>`. Each parameter is
/// the request (at most one, in any place: a type marked `#[ftl::data]`) or something that FTL injects
/// (`ftl::Client`, `ftl::Context`, your own `ftl::Inject`), by value or by `&`.
///
/// `pub` lets every module call the verb; without it, only its own module may. Options:
///
/// * `public`: callers outside the system may call it too;
/// * `idempotent`: running it twice is the same as running it once, so a call that may have run is tried again;
/// * `blocking`: it computes or waits without `await`; it runs on a thread where that delays nobody;
/// * `alias = Name`: the name of the type beside the function, where the function's own name is in the way.
#[proc_macro_attribute]
pub fn verb(options: TokenStream, item: TokenStream) -> TokenStream {
    verb::verb(&Package::current(), options.into(), item.into()).into()
}

/// Makes a struct or an enum data: it can be a request, a reply, or a part of one.
///
/// Derives serde's traits (no dependency on serde is needed, its attributes are read), `Debug`, `Clone` and
/// `PartialEq` where they are not derived already, and the schema. What has no schema is refused where it stands.
/// Options:
///
/// * `name = "Other"`: the name in the schema, where two types of one package have the same;
/// * `manual(Debug)`: traits that you implement yourself.
#[proc_macro_attribute]
pub fn data(options: TokenStream, item: TokenStream) -> TokenStream {
    data::data(&Package::current(), options.into(), item.into()).into()
}

/// Makes an enum the typed error of verbs: callers receive it as it is, whatever lies between.
///
/// Derives `thiserror::Error` (the package must depend on `thiserror`) beside everything that `#[ftl::data]` derives.
/// `#[error("…")]` and `#[from]` are thiserror's. For every `#[from] Inner` the failure of a call whose error is
/// `Inner` also converts, so that `?` works on a call; it goes on as the failure of this call.
///
/// Until it does, such a failure lies in a hidden variant, so a `match` on an error with a `#[from]` needs an arm `_`.
/// A variant of your own for it, `Down(#[failure] ftl::Failure)`, takes its place. Failures never reach a caller as a
/// variant.
#[proc_macro_attribute]
pub fn error(options: TokenStream, item: TokenStream) -> TokenStream {
    data::error(&Package::current().with_dependencies(), options.into(), item.into()).into()
}

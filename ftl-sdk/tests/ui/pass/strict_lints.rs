//! What the macros write breaks no lint that a careful crate denies.
#![forbid(unsafe_code)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub, unused, nonstandard_style, future_incompatible)]

ftl::module! {
    /// A careful module.
    verbs: [documented, internal]
}

/// Data.
#[ftl::data]
pub struct Data {
    /// A field.
    pub field: u8,
    /// One that may be missing.
    pub maybe: Option<u8>,
}

/// An error.
#[ftl::error]
pub enum Failed {
    /// It failed.
    #[error("failed")]
    Failed,
    /// Another one failed.
    #[error("clock: {0}")]
    Clock(#[from] clock::NowError),
}

/// A verb.
#[ftl::verb]
pub async fn documented(data: Data, now: ftl::Client<clock::now>) -> Result<Data, Failed> {
    now.call(()).await?;
    Ok(data)
}

/// A verb of the module's own.
#[ftl::verb]
pub(crate) async fn internal() -> u8 {
    1
}

fn main() {}

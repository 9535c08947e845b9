//! Bytes that nobody may see.

use std::fmt;
use std::sync::Arc;

/// A secret: `Debug` prints its length, it has no `Display` and does not serialise.
///
/// ```
/// use ftl_core::Secret;
/// assert_eq!(format!("{:?}", Secret::new(*b"hunter2")), "Secret(7 bytes)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Keeps these bytes.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one who must use them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

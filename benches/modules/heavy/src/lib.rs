//! Carries ballast: what a module of 8 MB costs to fetch and to start.

ftl::module! {
    /// Carries ballast.
    verbs: [byte]
}

static BALLAST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/ballast"));

/// One byte of the ballast.
#[ftl::verb]
pub async fn byte(at: u32) -> u8 {
    BALLAST[at as usize % BALLAST.len()]
}

//! Answers with what it was given: the least that a verb can do.

ftl::module! {
    /// Answers with what it was given.
    verbs: [answer]
}

/// About a hundred bytes of JSON.
#[ftl::data]
pub struct Payload {
    /// A number.
    pub id: u64,
    /// Who sends it.
    pub from: String,
    /// What it says.
    pub text: String,
    /// Some numbers.
    pub numbers: Vec<u32>,
}

/// Answers with what it was given.
#[ftl::verb]
pub async fn answer(request: Payload) -> Payload {
    request
}

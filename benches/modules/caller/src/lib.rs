//! May call the other modules. It never runs: the benchmark takes its place, as the Runner of its slot.

ftl::module! {
    /// May call the others.
    verbs: [call]
}

/// Calls both.
#[ftl::verb]
pub async fn call(
    request: echo::Payload,
    hop: ftl::Client<hop::ask>,
    echo: ftl::Client<echo::answer>,
) -> Result<echo::Payload, ftl::Error> {
    let answered = hop.call(request).await?;
    Ok(echo.call(answered).await?)
}

//! Asks `echo`, and hands its answer on: one nested call.

ftl::module! {
    /// Asks `echo`.
    verbs: [ask]
}

/// Asks `echo`.
#[ftl::verb]
pub async fn ask(
    request: echo::Payload,
    echo: ftl::Client<echo::answer>,
) -> Result<echo::Payload, ftl::Error> {
    Ok(echo.call(request).await?)
}

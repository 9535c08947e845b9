//! Greets by name: a module that calls another one, `clock`.

ftl::module! {
    /// Says hello, with the time.
    verbs: [hello]
}

/// Who is to be greeted.
#[ftl::data]
pub struct HelloRequest {
    /// The name.
    pub name: String,
}

/// A greeting.
#[ftl::data]
pub struct HelloReply {
    /// The greeting, as `Hello, Ada! It is 2026-11-24T07:00:00Z.`
    pub message: String,
}

/// Why somebody is not greeted.
#[ftl::error]
pub enum HelloError {
    /// There is nobody to greet.
    #[error("empty name")]
    EmptyName,
    /// The clock has no time to tell.
    #[error("clock: {0}")]
    Clock(#[from] clock::NowError),
}

/// Greets by name.
// The parameter `now` is all it takes to call the verb `now` of the module `clock`, and the declaration that this
// verb does so: nothing else can be called.
#[ftl::verb]
pub async fn hello(request: HelloRequest, now: ftl::Client<clock::now>) -> Result<HelloReply, HelloError> {
    let name = request.name.trim();
    if name.is_empty() {
        return Err(HelloError::EmptyName);
    }
    // The clock's own error becomes `HelloError::Clock`; a clock that cannot be reached fails this call too.
    let now = now.call(()).await?;
    Ok(HelloReply { message: format!("Hello, {name}! It is {}.", now.time) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::{NowError, NowReply};
    use ftl::{Client, Code};

    fn request(name: &str) -> HelloRequest {
        HelloRequest { name: name.to_owned() }
    }

    // No server and no port: what the verb would call is a parameter.
    #[tokio::test]
    async fn hello_tells_the_time() {
        let now = Client::fake(|()| async { Ok(NowReply { time: "2026-11-24T07:00:00Z".to_owned() }) });
        let reply = hello(request("Ada"), now).await.unwrap();
        assert_eq!(reply.message, "Hello, Ada! It is 2026-11-24T07:00:00Z.");
    }

    #[tokio::test]
    async fn nobody_is_not_greeted() {
        let refused = hello(request("  "), Client::broken(Code::Unavailable)).await;
        assert_eq!(refused, Err(HelloError::EmptyName), "and the clock is not even asked");
    }

    #[tokio::test]
    async fn the_clocks_own_error_arrives_typed() {
        let now = Client::fake(|()| async { Err(NowError::NotSet) });
        assert_eq!(hello(request("Ada"), now).await, Err(HelloError::Clock(NowError::NotSet)));
    }

    #[tokio::test]
    async fn without_a_clock_there_is_no_greeting() {
        let refused = hello(request("Ada"), Client::broken(Code::Unavailable)).await.unwrap_err();
        assert_eq!(refused.to_string(), "broken by the test");
    }
}

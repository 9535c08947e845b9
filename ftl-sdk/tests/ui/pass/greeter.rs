// The whole module that a newcomer sees first.
ftl::module! {
    /// Says hello, with the time.
    verbs: [hello]
}

#[ftl::data]
pub struct HelloRequest {
    pub name: String,
}

#[ftl::data]
pub struct HelloReply {
    pub message: String,
}

#[ftl::error]
pub enum HelloError {
    #[error("empty name")]
    EmptyName,
    #[error("clock: {0}")]
    Clock(#[from] clock::NowError),
}

/// Greets by name.
#[ftl::verb]
pub async fn hello(request: HelloRequest, now: ftl::Client<clock::now>) -> Result<HelloReply, HelloError> {
    let now = now.call(()).await?;
    Ok(HelloReply { message: format!("Hello, {}! It is {}.", request.name, now.time) })
}

fn main() -> std::process::ExitCode {
    let _test = hello(
        HelloRequest { name: "Ada".to_owned() },
        ftl::Client::fake(|_| async { Ok(clock::NowReply { time: "now".to_owned() }) }),
    );
    let _serve: fn(ftl::Module) -> std::process::ExitCode = ftl::serve;
    std::process::ExitCode::SUCCESS
}

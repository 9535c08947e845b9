//! A module that speaks the wire by hand, as no SDK does: it calls whatever it is told to, in whatever name.

use std::error::Error;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use async_trait::async_trait;
use ftl_core::name::VerbRef;
use ftl_core::{Body, Call, CallError, Code, Failure, Head, Reply, VerbService};
use ftl_wire::{Connection, Dispatch, HeadRef, Options, Route, dial_runner};
use tokio::sync::watch;
use tokio::time::Instant;

ftl::module! {
    /// Calls what it is told to.
    verbs: [attempt]
}

/// What to call, and who to say that one is.
#[ftl::data]
pub struct Attempt {
    /// As `module.verb`.
    pub target: String,
    /// The same, or nobody.
    pub caller: Option<String>,
}

/// Calls, and answers with what came of it: origin, code, fate and message, or the reply.
///
/// Only its signature counts: it says that the module calls `clock.now`, and nothing else.
#[ftl::verb]
pub async fn attempt(request: Attempt, now: ftl::Client<clock::now>) -> Result<String, ftl::Error> {
    let _ = (request, now);
    Ok("this is not what runs".to_owned())
}

/// Serves every call by [`attempt()`] it.
#[derive(Clone, Debug)]
struct Raw(watch::Receiver<Option<Connection>>);

impl Dispatch for Raw {
    fn dispatch(&self, _head: &HeadRef<'_>) -> Route {
        Route::Serve(Arc::new(self.clone()))
    }
}

#[async_trait]
impl VerbService for Raw {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let refused = |error: &dyn Error| Failure::new(Code::InvalidArgument, error.to_string());
        let attempt: Attempt = serde_json::from_slice(call.body.bytes()).map_err(|error| refused(&error))?;
        let name = |name: &str| VerbRef::from_target(name).map_err(|error| refused(&error));
        let mut head = Head::new(name(&attempt.target)?, call.head.request, call.head.deadline);
        head.caller = attempt.caller.as_deref().map(name).transpose()?;
        let mut connection = self.0.clone();
        let connected = connection.wait_for(Option::is_some).await.map_err(|error| refused(&error))?.clone();
        let Some(connection) = connected else {
            return Err(Failure::new(Code::Internal, "no connection").into());
        };
        let said = match connection.call(Call::new(head, Body::once("null"))).await {
            Ok(reply) => String::from_utf8_lossy(reply.body.bytes()).into_owned(),
            Err(CallError::Verb(_)) => "its own error".to_owned(),
            Err(CallError::Failed(Failure { origin, code, fate, message, .. })) => {
                format!("{} {code:?} {fate:?}: {message}", origin.unwrap_or_default())
            }
        };
        Ok(Reply::new(Body::once(serde_json::Value::from(said).to_string())))
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let (connected, connection) = watch::channel(None);
    let schema = MODULE.schema()?.hash();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let connection = dial_runner(socket, schema, Arc::new(Raw(connection)), &Options::default()).await?;
        connected.send_replace(Some(connection.clone()));
        connection.closed().await;
        Ok(())
    })
}

fn main() -> ExitCode {
    if std::env::var_os("FTL_DEPLOYMENT").is_none() {
        return ftl::serve(MODULE);
    }
    if serve().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

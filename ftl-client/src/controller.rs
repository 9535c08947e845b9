//! The Controller's traits over HTTP.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ftl_core::controller::{BoxStream, ChangeSpec, ChangeStatus, LogLine, LogQuery, ModuleStatus, Operator};
use ftl_core::http::{
    ARTEFACT_DIFFS, ARTEFACTS, CALL, CHANGES, DEPLOYMENTS, Digests, HEALTH, IDEMPOTENCY_HEADER, LOGS,
    MODULES, Made, MissingDigests, REQUEST_HEADER, SCHEMAS, SIZE_HEADER, Started, Stored, TIMEOUT_HEADER,
};
use ftl_core::key::{ChangeId, DeploymentId};
use ftl_core::schema::Module;
use ftl_core::{
    Body, Call, CallError, Code, Controller, ControllerError, DeploymentInfo, DeploymentSpec, Digest,
    Failure, Reply, VerbService,
};
use reqwest::Method;
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::{ANSWER_TIMEOUT, Client, expect_ok, expect_reply, overdue};
use crate::lines::{in_time, lines};
use crate::progress::Progress;

/// How much longer than the call itself its answer may take: at the deadline the Controller says what became of the call, and
/// only then.
const LAST_WORD: Duration = Duration::from_secs(1);

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl VerbService for Client {
    async fn ping(&self, deadline: Instant) -> Result<(), Failure> {
        let answer = timeout_at(deadline, self.send(self.request(Method::GET, HEALTH)));
        let response = answer.await.map_err(|_| {
            Failure::new(Code::DeadlineExceeded, "the Controller did not answer a ping in time")
        })??;
        match expect_reply(response).await {
            Ok(_) => Ok(()),
            Err(CallError::Failed(failure)) => Err(failure),
            Err(CallError::Verb(_)) => Err(Failure::new(Code::Internal, "a ping was answered with an error")),
        }
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        let Call { head, body, .. } = call;
        let left = head.deadline.saturating_duration_since(Instant::now());
        let path = format!("{CALL}/{}/{}", head.target.module, head.target.verb);
        let mut request = self
            .request(Method::POST, &path)
            .header(REQUEST_HEADER, head.request.as_str())
            .header(TIMEOUT_HEADER, left.as_millis().to_string())
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .body(body.bytes().clone());
        if let Some(key) = &head.idempotency_key {
            request = request.header(IDEMPOTENCY_HEADER, key.as_str());
        }
        let answer = async {
            let response = self.send(request).await?;
            expect_reply(response).await
        };
        let answered = match timeout_at(head.deadline + LAST_WORD, answer).await {
            Ok(answered) => answered,
            Err(_) => Err(Failure::new(Code::DeadlineExceeded, "no reply before the deadline").into()),
        };
        match answered {
            Ok(bytes) => Ok(Reply::new(Body::once(bytes))),
            Err(CallError::Failed(failure)) => Err(failure.of_call(&head.target, &head.request).into()),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Controller for Client {
    async fn get_artefact_diffs(&self, digests: &[Digest]) -> Result<Vec<Digest>, ControllerError> {
        let question = Digests { digests: digests.to_vec() };
        let answer: MissingDigests =
            self.ask(self.request(Method::POST, ARTEFACT_DIFFS).json(&question)).await?;
        Ok(answer.missing_digests)
    }

    async fn upload_artefact(
        &self,
        digest: Digest,
        size: u64,
        body: BoxStream<io::Result<Bytes>>,
    ) -> Result<Digest, ControllerError> {
        let progress = Progress::default();
        let request = self
            .request(Method::PUT, &format!("{ARTEFACTS}/{digest}"))
            .header(SIZE_HEADER, size)
            .body(reqwest::Body::wrap_stream(progress.watch(body)));
        // As long as the link needs, while anything moves.
        let uploading = async { expect_ok(self.send(request).await?).await };
        let bytes = progress.unless_stalled(uploading).await?;
        let stored: Stored = serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(Code::Internal, format!("the answer to an upload: {error}")))?;
        Ok(stored.digest)
    }

    async fn create_deployment(&self, spec: DeploymentSpec) -> Result<DeploymentId, ControllerError> {
        let made: Made = self.ask(self.request(Method::POST, DEPLOYMENTS).json(&spec)).await?;
        Ok(made.id)
    }

    async fn get_deployment(&self, id: &DeploymentId) -> Result<DeploymentInfo, ControllerError> {
        self.ask(self.request(Method::GET, &format!("{DEPLOYMENTS}/{id}"))).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Operator for Client {
    async fn apply(&self, change: ChangeSpec) -> Result<ChangeId, ControllerError> {
        let started: Started = self.ask(self.request(Method::POST, CHANGES).json(&change)).await?;
        Ok(started.id)
    }

    async fn change_status(&self, id: ChangeId, newer_than: u64) -> Result<ChangeStatus, ControllerError> {
        let request = self.request(Method::GET, &format!("{CHANGES}/{id}"));
        self.ask(request.query(&[("newer_than", newer_than)])).await
    }

    async fn status(&self) -> Result<Vec<ModuleStatus>, ControllerError> {
        self.ask(self.request(Method::GET, MODULES)).await
    }

    async fn schemas(&self) -> Result<Vec<Module>, ControllerError> {
        self.ask(self.request(Method::GET, SCHEMAS)).await
    }

    async fn logs(
        &self,
        query: LogQuery,
    ) -> Result<BoxStream<Result<LogLine, ControllerError>>, ControllerError> {
        let follow = query.follow;
        let asking = self.send(self.request(Method::GET, LOGS).query(&query));
        let response = timeout(ANSWER_TIMEOUT, asking).await.map_err(|_| overdue())??;
        let lines = lines(response).await?;
        // Who follows may wait for ever for the next line; who asks for what there is may not.
        Ok(if follow { lines } else { in_time(lines) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::Head;
    use ftl_core::http::{OUTCOME_HEADER, Outcome};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    /// Answers one call with an empty object, so long after it came.
    async fn answer_after(listener: TcpListener, wait: Duration) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"{}") {
            stream.read_buf(&mut asked).await.unwrap();
        }
        sleep(wait).await;
        let answer = format!(
            "HTTP/1.1 200 OK\r\n{OUTCOME_HEADER}: {}\r\ncontent-length: 2\r\n\r\n{{}}",
            Outcome::Ok.as_str()
        );
        // Nobody may be there any more.
        let _ = stream.write_all(answer.as_bytes()).await;
    }

    async fn answered(within: Duration, after: Duration) -> Result<Reply, CallError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap()), "token").unwrap();
        let head = Head::new("clock.now".parse().unwrap(), "r".parse().unwrap(), Instant::now() + within);
        let call = client.call(Call::new(head, Body::once("{}")));
        tokio::join!(call, answer_after(listener, after)).0
    }

    #[tokio::test]
    async fn what_is_said_at_the_deadline_is_heard() {
        let within = Duration::from_millis(100);
        let reply = answered(within, within + LAST_WORD / 4).await.unwrap();
        assert_eq!(reply.body.bytes(), "{}");
        match answered(within, within + LAST_WORD * 2).await {
            Err(CallError::Failed(failure)) => assert_eq!(failure.code, Code::DeadlineExceeded),
            other => panic!("{other:?}"),
        }
    }
}

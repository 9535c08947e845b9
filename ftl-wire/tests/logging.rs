//! What is logged of a call. A program of its own: whether anybody listens is remembered for the whole process, and tests
//! beside this one have nobody who does.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests fail as tests do")]

mod support;

use std::sync::Arc;

use ftl_core::{Call, Reply, VerbService};
use support::*;

/// Where the lines of a subscriber go.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Even where only errors are logged, a line of a verb names the request that it belongs to.
#[tokio::test]
async fn every_line_of_a_call_names_its_request() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::ERROR)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let verb = serve(|call: Call| async move {
        tracing::error!("from the verb");
        Ok(Reply::new(call.body))
    });
    let (_, code) = joined(verb, nobody()).await;
    code.call(call("clock.now", "")).await.unwrap();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("call{request=r-1 verb=clock.now}") && text.contains("from the verb"), "{text}");
}

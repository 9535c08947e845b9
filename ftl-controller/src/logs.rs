//! The newest output of all deployments, for whoever asks; bounded, with losses counted.

use std::collections::VecDeque;
use std::sync::Arc;

use ftl_core::ControllerError;
use ftl_core::controller::{BoxStream, LogLine, LogQuery};
use ftl_core::output::Ring;
use futures_util::stream;
use tokio::sync::watch;

/// What deployments wrote.
#[derive(Clone, Debug)]
pub(crate) struct Logs(Arc<Ring<LogLine>>);

impl Logs {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self(Arc::new(Ring::new(bytes_max)))
    }

    pub(crate) fn push(&self, line: LogLine) {
        self.0.push(line);
    }

    /// The lines that a query asks for, oldest first.
    pub(crate) fn query(&self, query: LogQuery) -> BoxStream<Result<LogLine, ControllerError>> {
        let written = self.0.subscribe();
        let mut reader = Reader { ring: self.0.clone(), written, next: 0, waiting: VecDeque::new(), query };
        reader.take();
        if let Some(tail) = reader.query.tail {
            let surplus = reader.waiting.len().saturating_sub(tail as usize);
            reader.waiting.drain(..surplus);
        }
        Box::pin(stream::unfold(reader, |mut reader| async move {
            let line = reader.line().await?;
            Some((Ok(line), reader))
        }))
    }
}

/// Somebody who reads, at his own pace: the ring gives way, never the writer.
struct Reader {
    ring: Arc<Ring<LogLine>>,
    written: watch::Receiver<u64>,
    next: u64,
    waiting: VecDeque<LogLine>,
    query: LogQuery,
}

impl Reader {
    fn take(&mut self) {
        self.written.borrow_and_update();
        let (lines, next) = self.ring.since(self.next);
        self.next = next;
        let wanted = |line: &LogLine| self.query.module.as_ref().is_none_or(|module| line.module == *module);
        self.waiting.extend(lines.into_iter().filter(wanted));
    }

    async fn line(&mut self) -> Option<LogLine> {
        loop {
            if let Some(line) = self.waiting.pop_front() {
                return Some(line);
            }
            if !self.query.follow {
                return None;
            }
            self.written.changed().await.ok()?;
            self.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::key::RunnerKey;
    use ftl_core::runner::{OutputLine, Stream};
    use futures_util::StreamExt;

    fn line(module: &str, text: &str) -> LogLine {
        LogLine::new(module.parse().unwrap(), RunnerKey(1), OutputLine::new(0, Stream::Stdout, text))
    }

    async fn texts(stream: BoxStream<Result<LogLine, ControllerError>>) -> Vec<String> {
        stream.map(|line| line.unwrap().line.text).collect().await
    }

    #[tokio::test]
    async fn a_query_chooses_module_and_tail() {
        let logs = Logs::new(1 << 10);
        for (module, text) in [("clock", "1"), ("greeter", "2"), ("clock", "3"), ("clock", "4")] {
            logs.push(line(module, text));
        }
        assert_eq!(texts(logs.query(LogQuery::all())).await, ["1", "2", "3", "4"]);
        let clock = LogQuery::all().of_module("clock".parse().unwrap());
        assert_eq!(texts(logs.query(clock.with_tail(2))).await, ["3", "4"]);
    }

    #[tokio::test]
    async fn a_follower_gets_what_comes() {
        let logs = Logs::new(1 << 10);
        logs.push(line("clock", "1"));
        let mut stream = logs.query(LogQuery::all().following());
        assert_eq!(stream.next().await.unwrap().unwrap().line.text, "1");
        logs.push(line("clock", "2"));
        assert_eq!(stream.next().await.unwrap().unwrap().line.text, "2");
    }
}

//! An answer that is a stream: one JSON object a line.

use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use ftl_core::controller::BoxStream;
use ftl_core::{Code, ControllerError, Failure};
use futures_util::{Stream, StreamExt, stream};
use reqwest::Response;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::client::{ANSWER_TIMEOUT, expect_ok, lost, overdue};

/// Longest line of a streamed answer, in bytes: a line of output, escaped, and what is said of it.
const LINE_BYTES_MAX: usize = 256 << 10;

/// The objects of an answer, in order.
pub(crate) async fn lines<T: DeserializeOwned + Send + 'static>(
    response: Response,
) -> Result<BoxStream<Result<T, ControllerError>>, ControllerError> {
    if !response.status().is_success() {
        expect_ok(response).await?;
        return Err(Failure::new(Code::Internal, "an error without a cause").into());
    }
    let reader = Reader { bytes: Box::pin(response.bytes_stream()), buffer: BytesMut::new() };
    Ok(Box::pin(stream::try_unfold(reader, |mut reader| async move {
        Ok(reader.next().await?.map(|object| (object, reader)))
    })))
}

/// The same, ended with an error when the next object does not come.
pub(crate) fn in_time<T: Send + 'static>(
    lines: BoxStream<Result<T, ControllerError>>,
) -> BoxStream<Result<T, ControllerError>> {
    Box::pin(stream::try_unfold(lines, |mut lines| async move {
        match timeout(ANSWER_TIMEOUT, lines.next()).await {
            Ok(Some(line)) => Ok(Some((line?, lines))),
            Ok(None) => Ok(None),
            Err(_) => Err(overdue().into()),
        }
    }))
}

struct Reader {
    bytes: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    buffer: BytesMut,
}

impl Reader {
    async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ControllerError> {
        let mut searched = 0;
        loop {
            if let Some(found) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(searched + found);
                self.buffer.advance(1);
                let read = serde_json::from_slice(&line);
                return read.map(Some).map_err(|error| unreadable(&error.to_string()));
            }
            searched = self.buffer.len();
            if searched > LINE_BYTES_MAX {
                return Err(unreadable("a line has no end"));
            }
            match self.bytes.next().await {
                Some(more) => self.buffer.extend_from_slice(&more.map_err(|error| lost(&error))?),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(unreadable("it ends in the middle of a line")),
            }
        }
    }
}

fn unreadable(why: &str) -> ControllerError {
    Failure::new(Code::DataLoss, format!("the Controller's stream cannot be read: {why}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(chunks: &[&'static str]) -> Reader {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        Reader { bytes: Box::pin(stream::iter(chunks)), buffer: BytesMut::new() }
    }

    #[tokio::test]
    async fn lines_are_found_wherever_chunks_end() {
        let mut reader = reader(&["1\n2", "2\n3", "\n"]);
        let mut found = Vec::new();
        while let Some(number) = reader.next::<u32>().await.unwrap() {
            found.push(number);
        }
        assert_eq!(found, [1, 22, 3]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_that_does_not_come_is_an_error() {
        let silent: BoxStream<Result<u32, ControllerError>> =
            Box::pin(stream::iter([Ok(1)]).chain(stream::pending()));
        let mut lines = in_time(silent);
        assert_eq!(lines.next().await.unwrap().unwrap(), 1);
        let error = lines.next().await.unwrap().unwrap_err();
        assert!(matches!(error, ControllerError::Failed(failure) if failure.code == Code::DeadlineExceeded));
        assert!(lines.next().await.is_none());
    }

    #[tokio::test]
    async fn a_cut_stream_is_an_error() {
        let mut reader = reader(&["1\n", "2"]);
        assert_eq!(reader.next::<u32>().await.unwrap(), Some(1));
        assert!(reader.next::<u32>().await.unwrap_err().to_string().contains("did not answer"));
    }
}

//! Serves an API on a listener, within limits: strangers may reach it, and whoever dawdles is not waited for.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Connections of one listener at once; more wait in the system's queue. Each may have a body in memory.
const CONNECTIONS_MAX: usize = 512;
/// How long the head of a request may take, from the connection's beginning or the answer before it.
const HEAD_MAX: Duration = Duration::from_secs(30);
/// Pause after a connection could not be taken: most often too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Answers until it is asked to end, and then what was begun.
pub(crate) async fn serve(listener: TcpListener, api: Router, ending: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_MAX);
    let next = async || {
        // Never closed.
        let place = places.clone().acquire_owned().await.ok();
        (accept(&listener).await, place)
    };
    while let Some((stream, place)) = ending.run_until_cancelled(next()).await {
        let service = TowerToHyperService::new(api.clone());
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // It broke, or said something that is no HTTP: nobody is left to be told.
            let _ = connection.await;
            drop(place);
        });
    }
    connections.shutdown().await;
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::timeout;

    async fn connect(listener: &TcpListener) -> TcpStream {
        TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn who_dawdles_is_cut_off_and_who_asked_is_answered_before_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut slow, mut quick) = (connect(&listener).await, connect(&listener).await);
        slow.write_all(b"POST /ftl").await.unwrap();
        quick.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let ending = CancellationToken::new();
        let api = Router::new().fallback({
            let ending = ending.clone();
            async move || {
                ending.cancel();
                sleep(Duration::from_millis(10)).await;
                "answered"
            }
        });
        tokio::time::pause();
        let mut answer = Vec::new();
        let all = async { tokio::join!(serve(listener, api, ending), quick.read_to_end(&mut answer)) };
        timeout(HEAD_MAX * 2, all).await.unwrap().1.unwrap();
        assert!(answer.ends_with(b"answered"), "{}", String::from_utf8_lossy(&answer));
        let mut cut = Vec::new();
        slow.read_to_end(&mut cut).await.unwrap();
    }
}

//! Engines that misbehave: a small one that only answers what it was told, and a proxy before the real one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ftl_platform_docker::{Docker, Options};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::bench::{WAIT, options};

/// What a request is met with.
#[derive(Clone)]
pub(crate) enum Fate {
    /// A status and a body.
    Answer(u16, &'static str),
    /// No answer, for ever.
    Silence,
    /// The connection is cut before anything is answered.
    Cut,
    /// The real engine gets it.
    Pass,
    /// The real engine gets it, and its answer is lost.
    LoseAnswer,
    /// The real engine gets it later.
    Hold(Arc<Hold>),
    /// The real engine gets it later, and its answer is lost.
    Late(Arc<Hold>),
}

/// A request on its way.
#[derive(Default)]
pub(crate) struct Hold {
    waits: Notify,
    go: Notify,
    done: Notify,
}

impl Hold {
    /// Returns once the request waits.
    pub(crate) async fn waits(&self) {
        timeout(WAIT, self.waits.notified()).await.unwrap();
    }

    /// Lets it go on.
    pub(crate) fn release(&self) {
        self.go.notify_one();
    }

    /// Lets it go on, and returns once the real engine has answered.
    pub(crate) async fn deliver(&self) {
        self.release();
        timeout(WAIT, self.done.notified()).await.unwrap();
    }
}

/// An engine that meets each request, by its first line, with the fate that is chosen for it.
pub(crate) struct Fake {
    pub(crate) directory: TempDir,
}

impl Fake {
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("engine.sock")
    }

    pub(crate) fn start(fate: impl Fn(&str) -> Fate + Send + Sync + 'static) -> Self {
        let fake = Self { directory: tempfile::tempdir().unwrap() };
        let listener = UnixListener::bind(fake.socket()).unwrap();
        let fate = Arc::new(fate);
        // Ends with the test's runtime.
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(meet(connection, fate.clone()));
            }
        });
        fake
    }

    pub(crate) fn docker(&self) -> Docker {
        Docker::new(self.options())
    }

    /// A platform with all the time that the real engine may take.
    pub(crate) fn patient(&self) -> Docker {
        let mut options = self.options();
        options.timings = ftl_platform_docker::Timings::default();
        Docker::new(options)
    }

    /// A platform that soon gives up what it asks to be changed.
    pub(crate) fn hasty(&self) -> Docker {
        let mut options = self.options();
        options.timings.change = HASTY;
        Docker::new(options)
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = options();
        options.host = Some(format!("unix://{}", self.socket().display()));
        options.timings.read = Duration::from_secs(5);
        options.timings.change = Duration::from_secs(5);
        options.timings.silence = Duration::from_millis(300);
        options
    }
}

/// How long is waited for an answer that never comes.
pub(crate) const HASTY: Duration = Duration::from_millis(500);

/// The driver opens a connection for each request.
async fn meet(mut connection: UnixStream, fate: Arc<impl Fn(&str) -> Fate>) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match connection.read(&mut byte).await {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let fate = fate(text.lines().next().unwrap_or_default());
    if let Fate::Hold(hold) | Fate::Late(hold) = &fate {
        hold.waits.notify_one();
        hold.go.notified().await;
    }
    match fate {
        Fate::Answer(status, body) => {
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            let _ = connection.write_all(answer.as_bytes()).await;
            // What was sent and not read would take the answer with it.
            let _ = timeout(WAIT, tokio::io::copy(&mut connection, &mut tokio::io::sink())).await;
        }
        Fate::Silence => std::future::pending().await,
        Fate::Cut => {}
        Fate::Pass | Fate::Hold(_) => {
            let mut engine = to_engine(&head).await;
            let _ = copy_bidirectional(&mut connection, &mut engine).await;
        }
        Fate::LoseAnswer => lose_answer(&mut connection, &head).await,
        Fate::Late(hold) => {
            lose_answer(&mut connection, &head).await;
            hold.done.notify_one();
        }
    }
}

async fn to_engine(head: &[u8]) -> UnixStream {
    let mut engine = UnixStream::connect("/var/run/docker.sock").await.unwrap();
    engine.write_all(head).await.unwrap();
    engine
}

/// All of a request, and nothing of the answer: the engine's first byte says that it is done.
async fn lose_answer(connection: &mut UnixStream, head: &[u8]) {
    let mut engine = to_engine(head).await;
    let (mut from, mut to) = connection.split();
    let (mut answer, mut request) = engine.split();
    let mut byte = [0];
    let send = async {
        // Whoever asked may have hung up long ago, which the engine is not told.
        let _ = tokio::io::copy(&mut from, &mut request).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = send => {}
        _ = answer.read(&mut byte) => {}
    }
    let _ = to.shutdown().await;
}

/// A small engine of the oldest version that will do; everything else meets this fate.
pub(crate) fn young(otherwise: Fate) -> impl Fn(&str) -> Fate {
    move |request| {
        if request.contains("/version") {
            Fate::Answer(200, r#"{"ApiVersion":"1.41","Version":"20.10"}"#)
        } else if request.contains("/info") {
            Fate::Answer(200, r#"{"OperatingSystem":"nothing"}"#)
        } else {
            otherwise.clone()
        }
    }
}

/// A proxy before the real engine that does this to the first request that contains a text.
pub(crate) fn proxy(fate: Fate, text: &'static str) -> Fake {
    let done = AtomicBool::new(false);
    Fake::start(move |request| {
        if request.contains(text) && !done.swap(true, Ordering::SeqCst) { fate.clone() } else { Fate::Pass }
    })
}

/// A proxy that holds the first request that contains a text until it is told.
pub(crate) fn held(text: &'static str) -> (Arc<Hold>, Fake) {
    let hold = Arc::<Hold>::default();
    (hold.clone(), proxy(Fate::Hold(hold), text))
}

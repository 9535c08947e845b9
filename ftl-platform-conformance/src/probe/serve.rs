//! A probe's life: dial, say hello, obey until the end.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use ftl_core::boot::Boot;
use ftl_core::memory::StopSignal;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufStream};
use tokio::net::{TcpStream, UnixStream};
use tokio::signal::unix::Signal;

use super::order::{Answer, Hello, LINE_BYTES_MAX, Order};
use super::process;

/// For how long nobody is waited for who was to say that the hogging is over: a suite that was killed does not.
const HOG_TIME_MAX: Duration = Duration::from_secs(300);
/// Between two looks whether it is over.
const HOG_LOOK: Duration = Duration::from_millis(5);

/// Both directions of a connection.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Wire for T {}

/// A connection that is read line by line.
pub(crate) type Lines = BufStream<Box<dyn Wire>>;

/// What a probe is.
pub(super) enum Place {
    /// A process of its own.
    Process,
    /// A task of somebody's process, with this environment.
    Task(BTreeMap<String, String>),
}

/// Where it hears that it is to end.
pub(super) enum Term {
    Process(Signal),
    Task(StopSignal),
}

impl Term {
    async fn asked(&mut self) {
        match self {
            Self::Process(signal) => drop(signal.recv().await),
            Self::Task(stop) => stop.asked().await,
        }
    }
}

/// How it ended.
pub(super) enum Ending {
    /// The platform asked.
    Asked,
    /// Nobody gives orders any more.
    Alone,
    /// Told to, with this code.
    Code(u8),
    /// Told to, by a panic.
    Panic,
}

/// What a probe with this boot document says first.
pub(super) fn hello(boot: &Boot) -> io::Result<Hello> {
    let secret = String::from_utf8_lossy(boot.secret.expose()).into_owned();
    Ok(Hello { runner: boot.runner, nonce: nonce()?, secret, child: false })
}

/// A number that no other process has.
pub(crate) fn nonce() -> io::Result<String> {
    use std::io::Read;
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A panic without words on standard error: it is no defect.
pub(super) fn panic() -> ! {
    std::panic::resume_unwind(Box::new("as it was told".to_owned()))
}

/// Obeys the first of these suites that can be reached.
pub(super) async fn serve(
    suites: &[String],
    hello: Hello,
    place: &Place,
    term: &mut Term,
) -> io::Result<Ending> {
    let child = hello.child;
    let runner = hello.runner;
    let mut lines = tokio::select! {
        lines = dial(suites) => lines?,
        () = term.asked(), if !child => return Ok(Ending::Asked),
    };
    say(&mut lines, &hello).await?;
    let mut ignores_term = child;
    loop {
        let mut line = String::new();
        tokio::select! {
            // Reading may lose half a line when it is given up, but then nobody reads on.
            read = hear(&mut lines, &mut line) => if read? == 0 { return Ok(Ending::Alone) },
            () = term.asked(), if !ignores_term => return Ok(Ending::Asked),
        }
        let answer = match serde_json::from_str(&line)? {
            Order::Ping => Answer::Done,
            Order::Exit { code } => return Ok(Ending::Code(code)),
            Order::Panic => return Ok(Ending::Panic),
            Order::IgnoreTerm => {
                ignores_term = true;
                Answer::Done
            }
            Order::Hog { hold } if hold.exists() => {
                // Said first: nobody hears it while it lasts.
                say(&mut lines, &Answer::Done).await?;
                hog(place, &hold);
                continue;
            }
            Order::Hog { hold } => Answer::Cannot { why: format!("{} is not seen here", hold.display()) },
            Order::Look => process::look(place)?,
            other => match place {
                Place::Process => process::obey(other, runner, suites)?,
                Place::Task(_) => Answer::Cannot { why: format!("a task cannot do {other:?}") },
            },
        };
        say(&mut lines, &answer).await?;
    }
}

/// Does not come to an await. A task says so to its runtime, which has others to run.
fn hog(place: &Place, hold: &Path) {
    let until = Instant::now() + HOG_TIME_MAX;
    let hog = || {
        while hold.exists() && Instant::now() < until {
            std::thread::sleep(HOG_LOOK);
        }
    };
    match place {
        Place::Process => hog(),
        Place::Task(_) => tokio::task::block_in_place(hog),
    }
}

async fn dial(suites: &[String]) -> io::Result<Lines> {
    let mut last = io::Error::new(io::ErrorKind::InvalidInput, "the boot document names no usable address");
    for address in suites {
        let dialled: io::Result<Box<dyn Wire>> = match address.split_once(':') {
            Some(("unix", path)) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as _),
            Some(("tcp", address)) => TcpStream::connect(address).await.map(|stream| Box::new(stream) as _),
            _ => continue,
        };
        match dialled {
            Ok(stream) => return Ok(BufStream::new(stream)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Writes one line.
pub(crate) async fn say(lines: &mut Lines, what: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    lines.write_all(&line).await?;
    lines.flush().await
}

/// Reads one line; 0 is the end.
pub(crate) async fn hear(lines: &mut Lines, line: &mut String) -> io::Result<usize> {
    lines.take(LINE_BYTES_MAX).read_line(line).await
}

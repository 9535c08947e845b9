//! A module as the user code of a Runner: this binary starts itself, and plays the Runner.
//!
//! It has its own `main`, because the process that is started must be nothing but `ftl::serve`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ftl::call::{Body, Call, Head, Reply, VerbService};
use ftl::{CallError, Client, Code, Failure, schema};
use ftl_wire::{CloseReason, Connection, Dispatch, HeadRef, Options, Peer, Route, accept_deployment};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// Makes this binary the user code.
const CHILD: &str = "FTL_TEST_CHILD";
/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(60);

ftl::module! {
    /// What the tests call.
    verbs: [asks, blocks, descendants, meets, panics, waits]
}

/// Asks the clock.
#[ftl::verb]
pub async fn asks(now: Client<clock::now>) -> Result<String, ftl::Error> {
    tracing::info_span!("own", step = 1).in_scope(|| tracing::info!("asking"));
    let time = now.call(()).await?.time;
    tracing::info!("asked");
    Ok(time)
}

/// Keeps the thread that everybody needs, for so long that also a watchdog that is rarely run sees it.
#[ftl::verb]
pub async fn blocks() {
    std::thread::sleep(Duration::from_secs(2));
}

/// What a process started from here has open.
#[ftl::verb(blocking)]
pub async fn descendants() -> String {
    tracing::info!("listing");
    let mut list = Command::new("ls");
    let listed = list.args(["-l", "/proc/self/fd"]).stdin(Stdio::inherit()).stderr(Stdio::null()).output();
    String::from_utf8_lossy(&listed.unwrap().stdout).into_owned()
}

/// Waits until another call of it runs at the same time.
#[ftl::verb]
pub async fn meets() {
    static WAITS: AtomicBool = AtomicBool::new(false);
    static MET: Notify = Notify::const_new();
    if WAITS.swap(true, Ordering::Relaxed) {
        MET.notify_one();
    } else {
        MET.notified().await;
    }
}

/// Breaks.
#[ftl::verb]
pub async fn panics() {
    panic!("on purpose");
}

/// Waits a little.
#[ftl::verb]
pub async fn waits(ms: u64) -> u64 {
    tokio::time::sleep(Duration::from_millis(ms)).await;
    ms
}

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return ftl::serve(MODULE);
    }
    let tests: [(&str, fn()); 6] = [
        ("a_module_without_a_runner_says_what_it_is", without_a_runner),
        ("calls_go_in_and_out", || block_on(calls_go_in_and_out())),
        ("log_lines_carry_their_request", || block_on(log_lines_carry_their_request())),
        ("nothing_inherits_the_socket", || block_on(nothing_inherits_the_socket())),
        ("a_running_call_is_finished_on_sigterm", || block_on(a_running_call_is_finished_on_sigterm())),
        ("it_ends_with_its_runner", || block_on(it_ends_with_its_runner())),
    ];
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in tests {
        if wanted.is_empty() || wanted.iter().any(|wanted| name.contains(wanted.as_str())) {
            println!("test {name} ...");
            test();
        }
    }
    ExitCode::SUCCESS
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn command() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env(CHILD, "1").env_remove("FTL_DEPLOYMENT").env_remove("FTL_LOG").env_remove("FTL_LOG_FILE");
    command
}

/// What the user code calls, as its Runner sees it.
#[derive(Debug, Default)]
struct Clock {
    asked: Mutex<Vec<Head>>,
}

#[async_trait]
impl VerbService for Clock {
    async fn ping(&self, _deadline: Instant) -> Result<(), Failure> {
        Ok(())
    }

    async fn call(&self, call: Call) -> Result<Reply, CallError> {
        self.asked.lock().unwrap().push(call.head);
        Ok(Reply::new(Body::once(r#"{"time":"noon"}"#)))
    }
}

#[derive(Debug)]
struct Upward(Arc<Clock>);

impl Dispatch for Upward {
    fn dispatch(&self, _head: &HeadRef<'_>) -> Route {
        Route::Serve(self.0.clone())
    }
}

/// The user code in a process of its own. Dropping it kills it.
struct UserCode {
    child: Child,
    connection: Connection,
    clock: Arc<Clock>,
}

impl UserCode {
    async fn start(variables: &[(&str, &str)]) -> Self {
        let (ours, theirs) = ftl_wire::pair().unwrap();
        let mut command = command();
        command.env("FTL_DEPLOYMENT", "1").envs(variables.iter().copied());
        let child = command.stdin(theirs).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let clock = Arc::new(Clock::default());
        // The command holds the other end until it is dropped.
        drop(command);
        let accepted = accept_deployment(ours, Arc::new(Upward(clock.clone())), &Options::default()).await;
        Self { child, connection: accepted.unwrap(), clock }
    }

    async fn call(&self, verb: &str, request: &str) -> Result<String, CallError> {
        let target = format!("{}.{verb}", MODULE.name()).parse().unwrap();
        let head = Head::new(target, "r-42".parse().unwrap(), Instant::now() + PATIENCE);
        let reply = self.connection.call(Call::new(head, Body::once(request.to_owned()))).await?;
        Ok(String::from_utf8_lossy(reply.body.bytes()).into_owned())
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the user code did not end");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Closes the connection and reads everything that the process has written to standard error.
    async fn last_words(mut self) -> String {
        self.connection.close(CloseReason::Normal, "enough");
        assert!(self.ended().await.success());
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for UserCode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn without_a_runner() {
    let output = command().output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{text}");
    assert!(text.contains("the FTL module `ftl_sdk` with the verbs: asks, blocks"), "{text}");
    assert!(text.contains("`ftl dev`"), "{text}");

    let output = command().arg("--schema").output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let printed: schema::Module = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, MODULE.schema().unwrap());

    let output = command().env("FTL_DEPLOYMENT", "1").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no runner is at the other end"));

    let output = command().env("FTL_DEPLOYMENT", "99").output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("speaks protocol 99, this binary speaks 1"));
}

async fn calls_go_in_and_out() {
    let code = UserCode::start(&[]).await;
    assert_eq!(code.connection.peer(), &Peer::Deployment { schema: MODULE.schema().unwrap().hash() });
    code.connection.ping(Instant::now() + PATIENCE).await.unwrap();
    assert_eq!(code.call("asks", "null").await.unwrap(), r#""noon""#);
    {
        let asked = code.clock.asked.lock().unwrap();
        assert_eq!(asked[0].target.to_string(), "clock.now");
        assert_eq!(asked[0].caller.as_ref().unwrap().to_string(), "ftl_sdk.asks");
        assert_eq!(asked[0].request.as_str(), "r-42");
        assert_eq!(asked[0].depth, 1);
        assert!(asked[0].deadline <= Instant::now() + PATIENCE, "what is left, not more");
    }
    // Calls run side by side, and a panic ends its own call only.
    let (a, b, broken) =
        tokio::join!(code.call("meets", "null"), code.call("meets", "null"), code.call("panics", "null"));
    assert_eq!((a.unwrap().as_str(), b.unwrap().as_str()), ("null", "null"));
    let Err(CallError::Failed(failure)) = broken else { panic!("it should break") };
    assert_eq!(failure.code, Code::Internal);
    let Err(CallError::Failed(failure)) = code.call("nothing", "null").await else {
        panic!("it is not there")
    };
    assert_eq!(failure.code, Code::NotFound);
    assert_eq!(failure.fate, ftl::Fate::NotStarted { elsewhere: false });
}

async fn log_lines_carry_their_request() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("log");
    let code = UserCode::start(&[
        ("FTL_LOG", "serve=info,ftl=warn,ftl::sequence=trace"),
        ("FTL_LOG_FILE", file.to_str().unwrap()),
    ])
    .await;
    code.call("asks", "null").await.unwrap();
    let _ = code.call("panics", "null").await;
    code.call("blocks", "null").await.unwrap();
    code.call("descendants", "null").await.unwrap();
    let text = code.last_words().await;
    for said in [
        " INFO call{request=r-42 verb=ftl_sdk.asks}: own{step=1}: serve: asking",
        " INFO call{request=r-42 verb=ftl_sdk.asks}: serve: asked",
        " INFO call{request=r-42 verb=ftl_sdk.descendants}: serve: listing",
        "ERROR call{request=r-42 verb=ftl_sdk.panics}: ftl::panic: panicked: on purpose",
        "`ftl_sdk.blocks` has blocked its thread",
    ] {
        let line =
            text.lines().find(|line| line.contains(said)).unwrap_or_else(|| panic!("{said} in {text}"));
        assert!(line.contains("request=r-42"), "{line}");
    }
    assert_eq!(text.matches("`ftl_sdk.blocks` has blocked its thread").count(), 1, "once: {text}");
    assert!(!text.contains("ftl::sequence"), "{text}");
    check_events(&file);
}

/// The file of all processes has the messages of the sequences, as a test reads them.
fn check_events(file: &Path) {
    let lines = fs::read_to_string(file).unwrap();
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let called = lines.iter().find(|line| line["target"] == "ftl::sequence").unwrap();
    let fields = &called["fields"];
    assert_eq!((&fields["from"], &fields["to"]), (&"Runner".into(), &"Deployment".into()));
    assert_eq!((&fields["message"], &fields["reply"]), (&"Call".into(), &"reply".into()));
    assert_eq!(fields["id"], "ftl_sdk.asks");
    let asking = lines.iter().find(|line| line["fields"]["message"] == "asking").unwrap();
    assert_eq!((&asking["request"], &asking["verb"]), (&"r-42".into(), &"ftl_sdk.asks".into()));
    assert_eq!(asking["span"]["name"], "own");
    assert!(called.get("request").is_none(), "nothing runs when it arrives");
}

async fn nothing_inherits_the_socket() {
    let code = UserCode::start(&[]).await;
    let open = code.call("descendants", "null").await.unwrap();
    assert!(open.contains("0 -> /dev/null"), "{open}");
    assert!(!open.contains("socket:"), "{open}");
}

async fn a_running_call_is_finished_on_sigterm() {
    let mut code = UserCode::start(&[]).await;
    let pid = Pid::from_child(&code.child);
    let (reply, ()) = tokio::join!(code.call("waits", "300"), async {
        // When it answers a ping that was sent after the call, it has read the call.
        code.connection.ping(Instant::now() + PATIENCE).await.unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    });
    assert_eq!(reply.unwrap(), "300");
    assert!(code.ended().await.success());
}

async fn it_ends_with_its_runner() {
    let mut code = UserCode::start(&[]).await;
    code.connection.close(CloseReason::Normal, "enough");
    assert!(code.ended().await.success());

    // A runner that is no more closes nothing in order.
    let (ours, theirs) = ftl_wire::pair().unwrap();
    let mut lost = command();
    let mut child = lost.env("FTL_DEPLOYMENT", "1").stdin(theirs).stderr(Stdio::piped()).spawn().unwrap();
    drop((lost, ours));
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(!child.wait().unwrap().success());
    assert!(text.contains("the runner did not answer"), "{text}");
}

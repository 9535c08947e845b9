//! The contract of a platform, held against real processes, in both modes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ftl_core::Secret;
use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    Capability, ErrorKind, Exit, InstanceRef, InstanceSpec, InstanceState, Platform, PlatformExt,
    ProgramSource, ReleaseOptions, RemoveOptions,
};
use ftl_platform_local::{Local, Mode, Options};
use tempfile::TempDir;
use tokio::time::Instant;

const WAIT: Duration = Duration::from_secs(20);

/// A platform in a directory of its own, where in the end nothing may be left.
struct Bench {
    local: Arc<Local>,
    directory: TempDir,
    mode: Mode,
}

fn detached() -> Mode {
    Mode::Detached { program: env!("CARGO_BIN_EXE_ftl-local-shim").into(), args: Vec::new() }
}

fn local(directory: &Path, mode: &Mode) -> Arc<Local> {
    let options = Options::new("local".parse().unwrap(), directory.into(), "x-y-z".parse().unwrap());
    Arc::new(Local::new(options.with_mode(mode.clone())).unwrap())
}

impl Bench {
    fn new(mode: Mode) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { local: local(&directory.path().join("instances"), &mode), directory, mode }
    }

    fn instances(&self) -> PathBuf {
        self.directory.path().join("instances")
    }

    /// The directory of an instance.
    fn place(&self, key: u64) -> PathBuf {
        self.instances().join(format!("c-{key}"))
    }

    /// The directory of its Runner.
    fn run(&self, key: u64) -> PathBuf {
        match self.mode {
            Mode::Tied => self.place(key),
            _ => self.place(key).join("run"),
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // On a thread of its own: the test's runtime cannot be waited on here.
        let (local, directory) = (self.local.clone(), self.instances());
        let release = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let cluster = ["c", "d"].map(|cluster| cluster.parse().unwrap());
            for cluster in cluster {
                let released = local.release(&cluster, ReleaseOptions::with_instances());
                let released = runtime.block_on(released).unwrap();
                assert!(released.left.is_empty(), "{released:?}");
            }
            let left: Vec<_> = std::fs::read_dir(directory).unwrap().flatten().collect();
            assert!(left.iter().all(|entry| entry.file_name() == "foreign"), "{left:?}");
        };
        let released = std::thread::spawn(release).join();
        assert!(released.is_ok() || std::thread::panicking(), "something is left");
    }
}

fn cluster() -> ClusterId {
    "c".parse().unwrap()
}

fn binary(path: impl AsRef<Path>, args: &[&str]) -> Vec<ProgramSource> {
    vec![ProgramSource::Binary {
        path: path.as_ref().into(),
        args: args.iter().map(|&arg| arg.into()).collect(),
    }]
}

fn spec(key: u64, program: Vec<ProgramSource>) -> InstanceSpec {
    let boot = Secret::new(*b"very secret");
    InstanceSpec::new(cluster(), RunnerKey(key), "rust".parse().unwrap(), Epoch(5), program, boot)
}

fn shell(key: u64, script: &str) -> InstanceSpec {
    spec(key, binary("/bin/sh", &["-c", script]))
}

impl Bench {
    async fn create(&self, spec: InstanceSpec) -> InstanceRef {
        self.local.create_runner(&spec).await.unwrap().instance
    }

    async fn state(&self, key: u64) -> Option<InstanceState> {
        let seen = self.local.observe(&cluster()).await.unwrap();
        seen.into_iter().find(|status| status.instance.runner == RunnerKey(key)).map(|status| status.state)
    }

    async fn end_of(&self, key: u64) -> Exit {
        let until = tokio::time::Instant::now() + WAIT;
        loop {
            match self.state(key).await {
                Some(InstanceState::Ended(exit)) => return exit,
                other if tokio::time::Instant::now() > until => panic!("{other:?}"),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    async fn line(&self, instance: &InstanceRef, text: &str) {
        let until = tokio::time::Instant::now() + WAIT;
        while !self.local.tail(instance, 100).await.unwrap().iter().any(|line| line == text) {
            assert!(tokio::time::Instant::now() < until, "`{text}` was never written");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Every test in both modes.
macro_rules! both {
    ($($test:ident)*) => {
        mod tied {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Bench::new(super::Mode::Tied)).await;
            })*
        }
        mod detached {
            $(#[tokio::test]
            async fn $test() {
                super::$test(super::Bench::new(super::detached())).await;
            })*
        }
    };
}

both! {
    the_boot_document_is_in_a_private_file_and_nowhere_else
    exits_are_exact_and_output_is_kept
    a_key_is_one_instance
    an_ended_instance_stays_ended
    stop_asks_then_kills
    what_cannot_start_says_so_in_words
    the_group_of_a_killed_runners_user_code_ends_and_no_strangers
}

async fn exits_are_exact_and_output_is_kept(bench: Bench) {
    for (key, script, code, signal) in [
        (1, "exit 0", Some(0), None),
        (2, "echo out; echo err >&2; exit 42", Some(42), None),
        (3, "kill -9 $$", None, Some(9)),
    ] {
        let created = bench.local.create_runner(&shell(key, script)).await.unwrap();
        assert!(!created.existed);
        let exit = bench.end_of(key).await;
        assert_eq!((exit.code, exit.signal, exit.asked), (code, signal, false), "{script}");
    }
    let second = InstanceRef::new(cluster(), RunnerKey(2), "2");
    assert_eq!(bench.local.tail(&second, 10).await.unwrap(), ["out", "err"]);
}

async fn a_key_is_one_instance(bench: Bench) {
    let spec = shell(7, "echo started; exec sleep 60");
    let again = async { bench.local.create_runner(&spec).await.unwrap().existed };
    let (a, b, c) =
        tokio::join!(async { bench.local.create_runner(&spec).await.unwrap().existed }, again, async {
            bench.local.create_runner(&spec).await.unwrap().existed
        });
    assert_eq!([a, b, c].iter().filter(|existed| !**existed).count(), 1);

    let other = bench.local.create_runner(&shell(7, "exit 1")).await.unwrap_err();
    assert_eq!(other.kind, ErrorKind::Conflict);
    let mut late = spec.clone();
    late.generation = Epoch(4);
    assert_eq!(bench.local.create_runner(&late).await.unwrap_err().kind, ErrorKind::Stale);
    let mut retried = spec.clone();
    retried.boot = Secret::new(*b"other");
    assert!(bench.local.create_runner(&retried).await.unwrap().existed);

    let instance = InstanceRef::new(cluster(), RunnerKey(7), "7");
    let running = bench.local.remove_instance(&instance, RemoveOptions::default()).await.unwrap_err();
    assert_eq!(running.kind, ErrorKind::Conflict);
    bench.local.remove_instance(&instance, RemoveOptions::forced()).await.unwrap();
    bench.local.remove_instance(&instance, RemoveOptions::default()).await.unwrap();
    assert!(bench.state(7).await.is_none());
    assert_eq!(std::fs::read_dir(bench.instances()).unwrap().count(), 0);
}

async fn an_ended_instance_stays_ended(bench: Bench) {
    let spec = shell(1, "exit 3");
    bench.local.create_runner(&spec).await.unwrap();
    bench.end_of(1).await;
    assert!(bench.local.create_runner(&spec).await.unwrap().existed);
    assert_eq!(bench.end_of(1).await.code, Some(3));
}

async fn stop_asks_then_kills(bench: Bench) {
    let polite = bench.create(shell(1, "trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done")).await;
    let stubborn = bench.create(shell(2, "trap '' TERM; echo ready; while :; do sleep 0.01; done")).await;
    for instance in [&polite, &stubborn] {
        bench.line(instance, "ready").await;
        bench.local.stop_instance(instance, Duration::from_secs(60)).await.unwrap();
    }
    let exit = bench.end_of(1).await;
    assert_eq!((exit.code, exit.asked), (Some(9), true));
    assert_eq!(bench.state(2).await, Some(InstanceState::Stopping));
    bench.local.stop_instance(&stubborn, Duration::from_millis(1)).await.unwrap();
    let exit = bench.end_of(2).await;
    assert_eq!((exit.signal, exit.asked), (Some(9), true), "a later call shortens the grace");
    bench.local.stop_instance(&stubborn, Duration::ZERO).await.unwrap();
    let unknown = InstanceRef::new(cluster(), RunnerKey(99), "99");
    bench.local.stop_instance(&unknown, Duration::ZERO).await.unwrap();
}

async fn what_cannot_start_says_so_in_words(bench: Bench) {
    let plain = bench.directory.path().join("plain");
    std::fs::write(&plain, "x").unwrap();
    for (key, path, words) in
        [(1, Path::new("/no/such"), "cannot be read"), (2, plain.as_path(), "is not executable")]
    {
        bench.local.create_runner(&spec(key, binary(path, &[]))).await.unwrap();
        let exit = bench.end_of(key).await;
        assert!(exit.never_started && exit.message.clone().unwrap().contains(words), "{exit:?}");
    }
    let registered = spec(3, vec![ProgramSource::Registered("x".into())]);
    assert_eq!(bench.local.create_runner(&registered).await.unwrap_err().kind, ErrorKind::Unsupported);
}

async fn the_boot_document_is_in_a_private_file_and_nowhere_else(bench: Bench) {
    use std::os::unix::fs::PermissionsExt;
    let created =
        bench.local.create_runner(&shell(1, "cat \"$FTL_BOOT\"; echo; env; exec sleep 60")).await.unwrap();
    bench.line(&created.instance, "very secret").await;
    let shown = bench.local.tail(&created.instance, 1000).await.unwrap();
    assert_eq!(shown.iter().filter(|line| line.contains("very secret")).count(), 1);
    let path = bench.place(1).join("boot.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", bench.local).contains("very secret"));
}

/// Whether a process runs: neither gone nor waiting to be reaped.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

async fn the_group_of_a_killed_runners_user_code_ends_and_no_strangers(bench: Bench) {
    // As a Runner does it: user code of its own files, in its own group, which it notes. This one works elsewhere.
    let start = r#"mkdir files && cp /bin/sleep files/code && setsid sh -c 'cd / && exec "$0"/files/code 60' "$FTL_DIR" &
        echo $! > deployment.pgid; while ! [ "$(cat /proc/$!/comm)" = code ]; do :; done; echo started; kill -9 $$"#;
    let instance = bench.create(shell(1, start)).await;
    bench.line(&instance, "started").await;
    bench.end_of(1).await;
    let directory = bench.run(1);
    let code = std::fs::read_to_string(directory.join("deployment.pgid")).unwrap();
    let until = tokio::time::Instant::now() + WAIT;
    while runs(code.trim()) {
        assert!(tokio::time::Instant::now() < until, "user code outlived its Runner");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A note of a group that somebody else has by now.
    let mut stranger =
        std::process::Command::new("sleep").arg("60").process_group(0).current_dir("/").spawn().unwrap();
    bench.create(shell(2, &format!("echo {} > deployment.pgid; kill -9 $$", stranger.id()))).await;
    bench.end_of(2).await;
    assert!(runs(&stranger.id().to_string()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

/// The first line that an instance writes: a process id.
async fn pid_of(bench: &Bench, instance: &InstanceRef) -> String {
    let until = Instant::now() + WAIT;
    loop {
        if let Some(pid) = bench.local.tail(instance, 100).await.unwrap().first() {
            return pid.clone();
        }
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wait_for_end(pid: &str) {
    let until = Instant::now() + WAIT;
    while runs(pid) {
        assert!(Instant::now() < until, "process {pid} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn tied_instances_end_with_the_platform() {
    let mut bench = Bench::new(Mode::Tied);
    assert!(!bench.local.describe().can(Capability::Adopt));
    let instance =
        bench.create(shell(1, "echo $$; cat >/dev/null; echo lifeline closed; exec sleep 60")).await;
    let pid = pid_of(&bench, &instance).await;
    bench.local = local(&bench.directory.path().join("other"), &Mode::Tied);
    wait_for_end(&pid).await;
    std::fs::remove_dir_all(bench.place(1)).unwrap();
}

#[tokio::test]
async fn the_lifeline_of_a_tied_instance_closes_with_the_platform() {
    let mut bench = Bench::new(Mode::Tied);
    // In a session of its own it is killed by nobody: only the pipe tells it.
    let hears = "cat <&3 >/dev/null; echo closed > heard";
    let start = format!("exec 3<&0; setsid sh -c 'echo $$; {hears}' & exec sleep 60");
    let instance = bench.create(shell(1, &start)).await;
    let pid = pid_of(&bench, &instance).await;
    assert!(runs(&pid));
    let heard = bench.run(1).join("heard");
    assert!(!heard.exists(), "as long as the platform is there");
    bench.local = local(&bench.directory.path().join("other"), &Mode::Tied);
    wait_for_end(&pid).await;
    assert_eq!(std::fs::read_to_string(heard).unwrap(), "closed\n");
    std::fs::remove_dir_all(bench.place(1)).unwrap();
}

/// As the next process does it.
fn adopt(bench: &mut Bench) {
    bench.local = local(&bench.instances(), &bench.mode);
}

#[tokio::test]
async fn detached_instances_are_found_again_and_their_ends_are_exact() {
    let mut bench = Bench::new(detached());
    assert!(bench.local.describe().can(Capability::Adopt));
    let lives = bench.create(shell(1, "echo $$; exec sleep 60")).await;
    let pid = pid_of(&bench, &lives).await;
    let ends = "echo $$; while ! [ -e ../../end ]; do sleep 0.01; done; echo last words; exit 42";
    let ends = bench.create(shell(2, ends)).await;
    let killed = bench.create(shell(3, "echo $$; exec sleep 60")).await;
    let (end_pid, killed_pid) = (pid_of(&bench, &ends).await, pid_of(&bench, &killed).await);

    adopt(&mut bench);
    assert_eq!(bench.state(1).await, Some(InstanceState::Running));
    assert!(bench.local.create_runner(&shell(1, "echo $$; exec sleep 60")).await.unwrap().existed);
    assert_eq!(pid_of(&bench, &lives).await, pid);
    // These end while no platform is there.
    bench.local = local(&bench.directory.path().join("other"), &Mode::Tied);
    std::fs::write(bench.instances().join("end"), "").unwrap();
    kill(&killed_pid);
    for pid in [&end_pid, &killed_pid] {
        wait_for_end(pid).await;
    }
    std::fs::remove_file(bench.instances().join("end")).unwrap();

    adopt(&mut bench);
    let exit = bench.end_of(2).await;
    assert_eq!((exit.code, exit.signal, exit.asked), (Some(42), None, false));
    assert_eq!(bench.local.tail(&ends, 1).await.unwrap(), ["last words"]);
    let exit = bench.end_of(3).await;
    assert_eq!((exit.code, exit.signal, exit.asked), (None, Some(9), false));
    assert_eq!(bench.state(1).await, Some(InstanceState::Running));
    bench.local.stop_instance(&lives, Duration::from_secs(60)).await.unwrap();
    let exit = bench.end_of(1).await;
    assert_eq!((exit.signal, exit.asked), (Some(15), true), "a stop goes through whoever asks");
}

fn kill(pid: &str) {
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn shim_of(bench: &Bench, key: u64) -> String {
    let shim: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bench.place(key).join("shim.json")).unwrap()).unwrap();
    shim["pid"].to_string()
}

#[tokio::test]
async fn whose_shim_is_killed_ends_and_how_is_not_known() {
    let mut bench = Bench::new(detached());
    // One Runner ends with its lifeline, as all do; the other one does not care.
    let polite = bench.create(shell(1, "echo $$; exec cat >/dev/null")).await;
    let stubborn = bench.create(shell(2, "echo $$; exec sleep 60")).await;
    let (polite_pid, stubborn_pid) = (pid_of(&bench, &polite).await, pid_of(&bench, &stubborn).await);
    for key in [1, 2] {
        kill(&shim_of(&bench, key));
    }
    wait_for_end(&polite_pid).await;
    adopt(&mut bench);
    let exit = bench.end_of(1).await;
    assert_eq!((exit.code, exit.signal, exit.asked, exit.never_started), (None, None, false, false));
    assert!(bench.local.create_runner(&shell(1, "echo $$; exec cat >/dev/null")).await.unwrap().existed);
    assert!(matches!(bench.state(1).await, Some(InstanceState::Ended(_))), "it stays ended");
    assert_eq!(bench.local.tail(&polite, 9).await.unwrap(), [polite_pid]);

    assert_eq!(bench.state(2).await, Some(InstanceState::Running), "as long as it lives");
    bench.local.stop_instance(&stubborn, Duration::from_secs(60)).await.unwrap();
    wait_for_end(&stubborn_pid).await;
    let exit = bench.end_of(2).await;
    assert_eq!((exit.code, exit.signal, exit.asked), (None, None, true));
}

#[tokio::test]
async fn a_number_that_is_a_strangers_now_is_never_killed() {
    let bench = Bench::new(detached());
    let mut stranger =
        std::process::Command::new("sleep").arg("60").process_group(0).current_dir("/").spawn().unwrap();
    let instance = bench.create(shell(1, "echo $$; exec cat >/dev/null")).await;
    let pid = pid_of(&bench, &instance).await;
    kill(&shim_of(&bench, 1));
    wait_for_end(&pid).await;
    for file in ["shim.json", "runner.json"] {
        let path = bench.place(1).join(file);
        let mut process: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        process["pid"] = stranger.id().into();
        process["started"] = 1.into();
        std::fs::write(&path, process.to_string()).unwrap();
    }
    std::fs::write(bench.run(1).join("deployment.pgid"), stranger.id().to_string()).unwrap();
    bench.end_of(1).await;
    bench.local.stop_instance(&instance, Duration::ZERO).await.unwrap();
    bench.local.remove_instance(&instance, RemoveOptions::forced()).await.unwrap();
    assert!(runs(&stranger.id().to_string()));
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn what_is_half_made_is_completed_once() {
    let mut bench = Bench::new(Mode::Detached { program: "/no/such".into(), args: Vec::new() });
    let spec = shell(1, "echo $$ >> ../../starts; exec sleep 60");
    assert_eq!(bench.local.create_runner(&spec).await.unwrap_err().kind, ErrorKind::Missing);
    assert_eq!(bench.state(1).await, Some(InstanceState::Pending));
    let unwanted = shell(2, "echo $$ >> ../../starts; exec sleep 60");
    let _ = bench.local.create_runner(&unwanted).await.unwrap_err();
    let unwanted_instance = InstanceRef::new(cluster(), RunnerKey(2), "2");
    bench.local.stop_instance(&unwanted_instance, Duration::ZERO).await.unwrap();

    bench.mode = detached();
    adopt(&mut bench);
    let other = local(&bench.instances(), &bench.mode);
    let creates = eight_creates([&bench.local, &other], &spec);
    for create in creates {
        assert!(create.await.unwrap(), "it was there, half made");
    }
    let starts = bench.instances().join("starts");
    let until = Instant::now() + WAIT;
    while std::fs::read_to_string(&starts).unwrap_or_default().is_empty() {
        assert!(Instant::now() < until, "it was never completed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Asked to end before it was begun: it is over, and stays so.
    assert!(bench.local.create_runner(&unwanted).await.unwrap().existed);
    let exit = bench.end_of(2).await;
    assert!(exit.asked && exit.never_started, "{exit:?}");
    assert_eq!(std::fs::read_to_string(&starts).unwrap().lines().count(), 1, "started once");
    std::fs::remove_file(starts).unwrap();
}

/// Eight creations of one instance at once, by two values in turn; each tells whether the instance existed.
fn eight_creates(by: [&Arc<Local>; 2], spec: &InstanceSpec) -> Vec<tokio::task::JoinHandle<bool>> {
    let create = |index: usize| {
        let (local, spec) = (by[index % 2].clone(), spec.clone());
        tokio::spawn(async move { local.create_runner(&spec).await.unwrap().existed })
    };
    (0..8).map(create).collect()
}

#[tokio::test]
async fn a_stop_while_it_starts_is_not_lost() {
    let bench = Bench::new(detached());
    for (key, pause) in [(1, 0), (2, 1), (3, 2), (4, 5), (5, 20)] {
        let instance = bench.create(shell(key, "exec sleep 60")).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        bench.local.stop_instance(&instance, Duration::from_secs(60)).await.unwrap();
    }
    for key in 1..=5 {
        let exit = bench.end_of(key).await;
        assert!(exit.asked && (exit.never_started || exit.signal == Some(15)), "{exit:?}");
    }
}

#[tokio::test]
async fn two_platforms_over_one_directory_are_one() {
    let bench = Bench::new(detached());
    let other = local(&bench.instances(), &bench.mode);
    let spec = shell(1, "echo started; exec sleep 60");
    let creates = eight_creates([&bench.local, &other], &spec);
    let mut made = 0;
    for create in creates {
        made += usize::from(!create.await.unwrap());
    }
    assert_eq!(made, 1);
    let instance = InstanceRef::new(cluster(), RunnerKey(1), "1");
    bench.line(&instance, "started").await;
    assert_eq!(other.tail(&instance, 9).await.unwrap(), ["started"], "started once");
}

#[tokio::test]
async fn others_are_neither_seen_nor_touched() {
    let bench = Bench::new(detached());
    let mut spec = shell(1, "exec sleep 60");
    spec.cluster = "d".parse().unwrap();
    bench.create(spec).await;
    let foreign = bench.instances().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("file"), "x").unwrap();
    assert!(bench.local.observe(&cluster()).await.unwrap().is_empty());
    assert_eq!(bench.local.observe(&"d".parse().unwrap()).await.unwrap().len(), 1);
    bench.local.release(&cluster(), ReleaseOptions::with_instances()).await.unwrap();
    assert_eq!(bench.local.observe(&"d".parse().unwrap()).await.unwrap().len(), 1);
    assert!(foreign.join("file").exists());
}

#[tokio::test]
async fn output_is_followed_to_the_end() {
    use ftl_core::platform::LogOptions;
    let bench = Bench::new(detached());
    let instance = bench.create(shell(1, "for i in 1 2 3; do echo $i; sleep 0.1; done; exit 7")).await;
    let mut options = LogOptions::default();
    options.follow = true;
    let mut lines = bench.local.logs(&instance, options).await.unwrap();
    let mut seen = Vec::new();
    while let Some(line) = std::future::poll_fn(|cx| lines.as_mut().poll_next(cx)).await {
        seen.push(line.unwrap().text);
    }
    assert_eq!(seen, ["1", "2", "3"]);
    assert_eq!(bench.end_of(1).await.code, Some(7));
}

#[tokio::test]
async fn who_watches_hears_of_what_comes_ends_and_goes() {
    use ftl_core::platform::Wake;
    let bench = Bench::new(detached());
    let mut wakes = bench.local.watch(&cluster()).await.unwrap();
    let mut next = async || {
        let next = std::future::poll_fn(|cx| wakes.as_mut().poll_next(cx));
        tokio::time::timeout(WAIT, next).await.unwrap().unwrap()
    };
    assert_eq!(next().await, Wake::Subscribed);
    let instance = bench.create(shell(1, "while ! [ -e ../../foreign ]; do sleep 0.01; done; exit 3")).await;
    assert_eq!(next().await, Wake::Changed(Some(RunnerKey(1))));
    std::fs::write(bench.instances().join("foreign"), "").unwrap();
    assert_eq!(next().await, Wake::Changed(Some(RunnerKey(1))));
    assert_eq!(bench.state(1).await.map(|state| matches!(state, InstanceState::Ended(_))), Some(true));
    bench.local.remove_instance(&instance, RemoveOptions::default()).await.unwrap();
    assert_eq!(next().await, Wake::Changed(Some(RunnerKey(1))));
}

#[tokio::test]
async fn a_tied_platform_wakes_nobody() {
    let bench = Bench::new(Mode::Tied);
    let refused = bench.local.watch(&cluster()).await.err().unwrap();
    assert_eq!(refused.kind, ErrorKind::Unsupported);
}

#[tokio::test]
async fn what_was_half_made_or_half_removed_is_removed_by_the_next_start() {
    let mut bench = Bench::new(detached());
    let instances = bench.instances();
    let folder = |name: &str, age: u64| {
        let path = instances.join(name);
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("boot.json"), "secret").unwrap();
        let changed = std::time::SystemTime::now() - Duration::from_secs(age);
        std::fs::File::open(&path).unwrap().set_modified(changed).unwrap();
        path
    };
    let left = [folder(".new-1", 3600), folder(".gone-2", 0)];
    let in_the_making = folder(".new-3", 0);
    adopt(&mut bench);
    assert!(left.iter().all(|path| !path.exists()));
    assert!(in_the_making.exists(), "another process may be at it");
    std::fs::remove_dir_all(in_the_making).unwrap();
    // What the machine had no time to write goes with its cluster.
    let unmarked = folder("c-9", 0);
    assert!(bench.local.observe(&cluster()).await.unwrap().is_empty());
    bench.local.release(&cluster(), ReleaseOptions::with_instances()).await.unwrap();
    assert!(!unmarked.exists());
}

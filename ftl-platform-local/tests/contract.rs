//! The contract of a platform, held against real child processes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what is wrong by failing")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ftl_core::Secret;
use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::ClusterId;
use ftl_core::platform::{
    ErrorKind, Exit, InstanceRef, InstanceSpec, InstanceState, Platform, PlatformExt, ProgramSource,
    RemoveOptions,
};
use ftl_platform_local::{Local, Options};
use tempfile::TempDir;

const WAIT: Duration = Duration::from_secs(20);

struct Bench {
    directory: TempDir,
    local: Arc<Local>,
}

fn bench() -> Bench {
    let directory = tempfile::tempdir().unwrap();
    let options =
        Options::new("local".parse().unwrap(), directory.path().join("instances"), "x-y-z".parse().unwrap());
    Bench { local: Arc::new(Local::new(options).unwrap()), directory }
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

#[tokio::test]
async fn exits_are_exact_and_output_is_kept() {
    let bench = bench();
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

#[tokio::test]
async fn a_key_is_one_instance() {
    let bench = bench();
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
    assert_eq!(std::fs::read_dir(bench.directory.path().join("instances")).unwrap().count(), 0);
}

#[tokio::test]
async fn an_ended_instance_stays_ended() {
    let bench = bench();
    let spec = shell(1, "exit 3");
    bench.local.create_runner(&spec).await.unwrap();
    bench.end_of(1).await;
    assert!(bench.local.create_runner(&spec).await.unwrap().existed);
    assert_eq!(bench.end_of(1).await.code, Some(3));
}

#[tokio::test]
async fn stop_asks_then_kills() {
    let bench = bench();
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

#[tokio::test]
async fn what_cannot_start_says_so_in_words() {
    let bench = bench();
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

#[tokio::test]
async fn the_boot_document_is_in_a_private_file_and_nowhere_else() {
    use std::os::unix::fs::PermissionsExt;
    let bench = bench();
    let created =
        bench.local.create_runner(&shell(1, "cat \"$FTL_BOOT\"; echo; env; exec sleep 60")).await.unwrap();
    bench.line(&created.instance, "very secret").await;
    let shown = bench.local.tail(&created.instance, 1000).await.unwrap();
    assert_eq!(shown.iter().filter(|line| line.contains("very secret")).count(), 1);
    let path = bench.directory.path().join("instances/c-1/boot.json");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!format!("{:?}", bench.local).contains("very secret"));
}

/// Whether a process runs: neither gone nor waiting to be reaped.
fn runs(pid: &str) -> bool {
    std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

#[tokio::test]
async fn the_group_of_a_killed_runners_user_code_ends_and_no_strangers() {
    let bench = bench();
    // As a Runner does it: user code of its own files, in its own group, which it notes. This one works elsewhere.
    let start = r#"mkdir files && cp /bin/sleep files/code && setsid sh -c 'cd / && exec "$0"/files/code 60' "$FTL_DIR" &
        echo $! > deployment.pgid; while ! [ "$(cat /proc/$!/comm)" = code ]; do :; done; echo started; kill -9 $$"#;
    let instance = bench.create(shell(1, start)).await;
    bench.line(&instance, "started").await;
    bench.end_of(1).await;
    let directory = bench.directory.path().join("instances/c-1");
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

#[tokio::test]
async fn children_end_with_the_platform() {
    let bench = bench();
    let instance =
        bench.create(shell(1, "echo $$; cat >/dev/null; echo lifeline closed; exec sleep 60")).await;
    let until = tokio::time::Instant::now() + WAIT;
    let pid = loop {
        match bench.local.tail(&instance, 1).await.unwrap().first() {
            Some(pid) => break pid.clone(),
            None => assert!(tokio::time::Instant::now() < until),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let Bench { local, directory: _directory } = bench;
    drop(local);
    while runs(&pid) {
        assert!(tokio::time::Instant::now() < until, "process {pid} outlived its platform");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

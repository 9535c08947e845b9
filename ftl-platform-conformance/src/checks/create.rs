//! What is created runs, once, as it was asked to.

use std::path::PathBuf;
use std::time::Duration;

use ftl_core::platform::{
    Capability, Effect, ErrorKind, Exit, InstanceRef, InstanceSpec, InstanceState, InstanceStatus,
    LogOptions, PlatformError, ProgramSource, RemoveOptions,
};

use crate::bench::{Bench, GENERATION};
use crate::check::{Check, Verdict, ensure};
use crate::controller::Probe;
use crate::probe::{Answer, Order};

/// The longest `NAME=VALUE` that Linux gives to a program; others give longer ones.
const STRING_BYTES_MAX: usize = (128 << 10) - 1;
/// How many variables are many.
const MANY: usize = 200;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "create::registers",
        "a create that starts nothing",
        "create_instance \"starts the Runner, which then dials the Controller with the secret\"",
        |bench| Box::pin(registers(bench)),
    ),
    Check::new(
        "create::boots_once",
        "one create starts two processes",
        "rule 1: at most one live instance carries an identity",
        |bench| Box::pin(boots_once(bench)),
    ),
    Check::new(
        "create::observed_at_once",
        "an instance is seen only some time after its create",
        "observe \"reads its own writes\"",
        |bench| Box::pin(observed_at_once(bench)),
    ),
    Check::new(
        "create::environment",
        "environment is left out or changed on its way",
        "rule 7: what is asked is done or refused, never ignored",
        |bench| Box::pin(environment(bench)),
    ),
    Check::new(
        "create::bad_names",
        "a name that leads elsewhere is followed",
        "rule 1: identity is (cluster, runner); what cannot be done as it was asked is refused",
        |bench| Box::pin(bad_names(bench)),
    ),
    Check::new(
        "create::missing_program",
        "a program that is not there looks like one that runs",
        "create_instance \"what cannot start is seen later as Ended with never_started\"",
        |bench| Box::pin(missing_program(bench)),
    ),
    Check::new(
        "create::not_executable",
        "a file that is no program looks like one that runs, or fails with a bare errno",
        "create_instance \"what cannot start is seen later as Ended with never_started\"",
        |bench| Box::pin(not_executable(bench)),
    )
    .needs(Capability::ProgramBinary),
];

async fn registers(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    ensure!(
        live.probe.hello.secret == bench.secret(live.key()),
        "the probe has another secret than it was given"
    );
    Ok(())
}

async fn boots_once(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    bench.one_start(live.key()).await?;
    let status = bench.running_on(&*bench.platform, live.key()).await?;
    ensure!(status.digest == live.spec.digest(), "observe tells of another digest than the one created");
    ensure!(
        status.generation == GENERATION,
        "observe tells of generation {}, not {GENERATION}",
        status.generation
    );
    ensure!(
        status.instance == live.instance,
        "observe tells of {:?}, create of {:?}",
        status.instance,
        live.instance
    );
    Ok(())
}

async fn observed_at_once(bench: &Bench) -> Verdict {
    for _ in 0..5 {
        let spec = bench.spec();
        bench.create(&spec).await?;
        ensure!(bench.status(spec.runner).await?.is_some(), "observe after create does not tell of it");
    }
    Ok(())
}

async fn environment(bench: &Bench) -> Verdict {
    let asked = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let mut spec = bench.spec();
    spec.env.extend([("PROBE_WORDS", "grüße \"x\" = $HOME\n  two lines"), ("PROBE_EMPTY", "")].map(asked));
    spec.env.extend([("PRÖBE", "ß"), ("probe.lower-case", "x")].map(asked));
    // As long as any system gives one, and many.
    let longest = "ö".repeat((STRING_BYTES_MAX - "PROBE_LONG=".len()) / 2);
    spec.env.insert("PROBE_LONG".to_owned(), longest);
    spec.env.extend((0..MANY).map(|number| (format!("PROBE_{number}"), "y".repeat(1 << 10))));
    let live = bench.start_on(&*bench.platform, spec).await?;
    as_asked(&live.spec, &live.probe).await?;
    let mut spec = bench.spec();
    spec.env.insert("PROBE_TOO_LONG".to_owned(), "z".repeat(STRING_BYTES_MAX + 1));
    given_or_refused(bench, spec).await
}

/// Makes sure that a program has the environment that it was to have.
async fn as_asked(spec: &InstanceSpec, probe: &Probe) -> Verdict {
    if let Answer::Seen { env, .. } = probe.order(Order::Look).await? {
        for (name, value) in &spec.env {
            let short = |value: &str| value.chars().take(40).collect::<String>();
            let found = env.get(name);
            let is = found.map(|found| (found.len(), short(found)));
            ensure!(found == Some(value), "{name:?} is {is:?}, not {:?}", (value.len(), short(value)));
        }
    }
    Ok(())
}

/// Makes sure that what may be more than the backend can do is done as it was asked, or refused: never half.
async fn given_or_refused(bench: &Bench, spec: InstanceSpec) -> Verdict {
    if let Err(error) = bench.create(&spec).await {
        return refused(bench, &spec, &error).await;
    }
    let settled = || async {
        if let Some(probe) = bench.controller.probes(spec.runner).pop() {
            return Ok(Some(Ok(probe)));
        }
        Ok(match bench.status(spec.runner).await? {
            Some(InstanceStatus { state: InstanceState::Ended(exit), .. }) => Some(Err(exit)),
            _ => None,
        })
    };
    match bench.until("it registers or is seen to have ended", settled).await? {
        Ok(probe) => as_asked(&spec, &probe).await,
        Err(exit) => {
            ensure!(exit.code != Some(0), "it never registered, and is told to have ended well: {exit:?}");
            Ok(())
        }
    }
}

/// Makes sure that a create that can never work was refused so.
async fn refused(bench: &Bench, spec: &InstanceSpec, error: &PlatformError) -> Verdict {
    let kinds = [ErrorKind::Missing, ErrorKind::Invalid, ErrorKind::Unsupported, ErrorKind::Denied];
    ensure!(kinds.contains(&error.kind), "refused as {:?}: it will never work", error.kind);
    ensure!(error.effect == Effect::None, "the refusal says that it may have taken effect");
    ensure!(bench.status(spec.runner).await?.is_none(), "it was refused, and is there all the same");
    Ok(())
}

/// Names that mean something else where they are taken for a path, a line, or a name of the backend's own.
async fn bad_names(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let odd = ["../../elsewhere", "/", "..", "-f", "a b\n\"c\"='d'", "\0", ""];
    for name in odd {
        let mut spec = bench.spec();
        spec.labels.insert("module".to_owned(), name.to_owned());
        spec.labels.insert("deployment".to_owned(), name.to_owned());
        given_or_refused(bench, spec).await?;
    }
    for variable in ["PROBE_\0", "PROBE_=A", "", "="] {
        let mut spec = bench.spec();
        spec.env.insert(variable.to_owned(), "x".to_owned());
        given_or_refused(bench, spec).await?;
    }
    // Identity is the key. What the backend once called an instance leads to nothing under another one.
    for native in odd.into_iter().chain([live.instance.native.as_str()]) {
        let nobody = InstanceRef::new(bench.cluster.clone(), bench.key(), native);
        bench.platform.stop_instance(&nobody, Duration::ZERO).await?;
        bench.platform.remove_instance(&nobody, RemoveOptions::forced()).await?;
        let read = bench.platform.logs(&nobody, LogOptions::default()).await;
        ensure!(read.is_err(), "output of {native:?} is answered under a key that nothing has");
    }
    bench.never("a name led to an instance of another key", || async { Ok(!live.probe.serves().await) }).await
}

/// Programs of the kind that this platform takes, but that are not there.
pub(super) fn no_program(bench: &Bench) -> Vec<ProgramSource> {
    if bench.can(Capability::ProgramBinary) {
        let path = PathBuf::from("/nowhere/no-such-program");
        vec![ProgramSource::Binary { path, args: Vec::new() }]
    } else {
        vec![ProgramSource::Registered("no-such-program".to_owned())]
    }
}

async fn missing_program(bench: &Bench) -> Verdict {
    starts_never(bench, no_program(bench), "no-such-program").await
}

async fn not_executable(bench: &Bench) -> Verdict {
    let path = bench.controller.directory().join("plain-file");
    let written = std::fs::write(&path, "this is no program");
    written.map_err(|error| crate::check::Flaw::not_proven(format!("no file can be written: {error}")))?;
    starts_never(bench, vec![ProgramSource::Binary { path, args: Vec::new() }], "plain-file").await
}

/// Makes sure that it is refused, or ends without ever running; and that the words name the program.
async fn starts_never(bench: &Bench, program: Vec<ProgramSource>, name: &str) -> Verdict {
    let mut spec = bench.spec();
    spec.program = program;
    match bench.create(&spec).await {
        Err(error) => refused(bench, &spec, &error).await?,
        Ok(_) => {
            let Exit { never_started, message, .. } = bench.ended(spec.runner).await?;
            ensure!(never_started, "it ended, but is not told to have never started");
            let words = message.unwrap_or_default();
            ensure!(words.contains(name), "the words do not name what could not be started: {words:?}");
        }
    }
    ensure!(bench.starts(spec.runner) == 0, "something registered all the same");
    Ok(())
}

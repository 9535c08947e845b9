//! What is created runs, once, as it was asked to.

use std::path::PathBuf;

use ftl_core::platform::{Capability, ErrorKind, Exit, InstanceState, ProgramSource};

use crate::bench::{Bench, GENERATION};
use crate::check::{Check, Verdict, ensure};
use crate::probe::{Answer, Order};

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
    let Some(status) = bench.status(live.key()).await? else {
        return Err(crate::check::Flaw::broken("observe does not tell of a running instance"));
    };
    ensure!(status.state == InstanceState::Running, "a registered probe is told to be {:?}", status.state);
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
    let asked = [("PROBE_WORDS", "grüße \"x\" = $HOME\n  two lines"), ("PROBE_EMPTY", "")];
    let mut spec = bench.spec();
    spec.env.extend(asked.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let live = bench.start_on(&*bench.platform, spec).await?;
    if let Answer::Seen { env, .. } = live.probe.order(Order::Look).await? {
        for (name, value) in asked {
            let found = env.get(name).map(String::as_str);
            ensure!(found == Some(value), "{name} is {found:?}, not {value:?}");
        }
    }
    Ok(())
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
        Err(error) => {
            let kinds = [ErrorKind::Missing, ErrorKind::Invalid, ErrorKind::Unsupported, ErrorKind::Denied];
            ensure!(kinds.contains(&error.kind), "refused as {:?}: it will never work", error.kind);
            ensure!(bench.status(spec.runner).await?.is_none(), "it was refused, and is there all the same");
        }
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

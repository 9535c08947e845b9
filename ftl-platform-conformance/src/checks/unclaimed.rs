//! What is not claimed is refused, or said not to be known: one verification for each capability.

use ftl_core::platform::{Capability, Effect, ErrorKind, ProgramSource};

use super::{adopt, exit, logs, secret, stop};
use crate::bench::Bench;
use crate::check::{Flaw, Verdict, ensure};

/// Makes sure that a capability that is not claimed is refused.
pub(crate) async fn refused(bench: &Bench, capability: Capability) -> Verdict {
    match capability {
        Capability::Adopt => adopt::none_left(bench).await,
        Capability::Kill => stop::not_killed_is_stopping(bench).await,
        Capability::ExitCode => exit::no_code(bench).await,
        Capability::ExitSignal | Capability::ExitOom => exit::no_cause(bench, capability).await,
        Capability::Logs | Capability::LogsFollow | Capability::LogsAfterExit => {
            logs::refused(bench, capability).await
        }
        Capability::LogsSplit => logs::not_split(bench).await,
        Capability::ProgramBinary => {
            let path = "/bin/true".into();
            program_refused(bench, ProgramSource::Binary { path, args: Vec::new() }).await
        }
        Capability::ProgramRegistered => {
            program_refused(bench, ProgramSource::Registered("probe".to_owned())).await
        }
        Capability::Process => exit::one_process(bench).await,
        Capability::KillTree => stop::child_left(bench).await,
        Capability::SecretFiles => secret::not_hidden(bench).await,
        // No check needs them yet.
        other => Err(Flaw::not_proven(format!("nothing shows how `{other}` is refused"))),
    }
}

async fn program_refused(bench: &Bench, program: ProgramSource) -> Verdict {
    let mut spec = bench.spec();
    spec.program = vec![program];
    // Past the check that all platforms share: the backend itself must know.
    match bench.platform.create_instance(&spec).await {
        Ok(_) => return Err(Flaw::broken("a program is taken that the platform does not claim to run")),
        Err(error) => {
            let kinds = [ErrorKind::Unsupported, ErrorKind::Missing, ErrorKind::Invalid];
            ensure!(kinds.contains(&error.kind), "refused as {:?}, not as Unsupported", error.kind);
            ensure!(error.effect == Effect::None, "the refusal says that it may have taken effect");
        }
    }
    ensure!(bench.status(spec.runner).await?.is_none(), "it was refused, and is there all the same");
    Ok(())
}

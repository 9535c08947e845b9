//! The boot document is seen by nobody but its Runner.

use ftl_core::PlatformExt;
use ftl_core::key::RunnerKey;
use ftl_core::platform::{Capability, RemoveOptions};

use crate::bench::{Bench, Live};
use crate::check::{Check, Flaw, Verdict, chain, ensure};
use crate::probe::{Answer, Order};

const RULE: &str = "rule 5: boot is never in arguments, environment, names, labels, logs, errors or Debug";

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "secret::argv_env",
        "the boot document is in the arguments or the environment",
        RULE,
        |bench| Box::pin(argv_env(bench)),
    )
    .needs(Capability::SecretFiles),
    Check::new(
        "secret::backend_view",
        "whoever looks at the backend sees the boot document",
        RULE,
        |bench| Box::pin(backend_view(bench)),
    )
    .needs(Capability::SecretFiles),
    Check::new("secret::told", "errors, states or Debug tell the boot document", RULE, |bench| {
        Box::pin(told(bench))
    }),
    Check::new("secret::gone", "the boot document outlives its instance", RULE, |bench| {
        Box::pin(gone(bench))
    }),
];

/// Makes sure that a text does not hold the secret of a key.
fn hidden(bench: &Bench, key: RunnerKey, whose: &str, text: &str) -> Verdict {
    // Never with the text: it would be one more place where the secret is seen.
    ensure!(!bench.needles(key).iter().any(|needle| text.contains(needle)), "the secret stands in {whose}");
    Ok(())
}

async fn argv_env(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    if let Answer::Seen { args, env, .. } = live.probe.order(Order::Look).await? {
        hidden(bench, live.key(), "the arguments", &args.join(" "))?;
        hidden(bench, live.key(), "the environment", &format!("{env:?}"))?;
    }
    Ok(())
}

async fn backend_view(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let shown = shown(bench, &live).await?;
    ensure!(!shown.is_empty(), "the backend shows nothing of an instance that runs");
    hidden(bench, live.key(), "what the backend shows", &shown)
}

/// What the backend shows of an instance. A look that fails says nothing, and is made again.
async fn shown(bench: &Bench, live: &Live) -> Result<String, Flaw> {
    let look = || async { Ok(bench.fixture.raw(&live.instance).await.ok()) };
    let shown = bench.until("the backend can be looked at", look).await?;
    shown.ok_or_else(|| Flaw::not_proven("the fixture cannot look at the backend"))
}

async fn told(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    let key = live.key();
    hidden(bench, key, "the specification's Debug", &format!("{:?}", live.spec))?;
    hidden(bench, key, "the platform's Debug", &format!("{:?}", bench.platform))?;
    hidden(bench, key, "what observe tells", &format!("{:?}", bench.status(key).await?))?;
    let mut other = live.spec.clone();
    other.labels.insert("module".to_owned(), "another".to_owned());
    let conflict = bench.create(&other).await;
    let running = bench.platform.remove_instance(&live.instance, RemoveOptions::default()).await;
    for error in [conflict.err(), running.err()].into_iter().flatten() {
        hidden(bench, key, "an error", &format!("{} {error:?}", chain(&error)))?;
    }
    if bench.can(Capability::Logs) {
        let lines = bench.platform.tail(&live.instance, usize::MAX).await?;
        hidden(bench, key, "the output", &lines.join("\n"))?;
    }
    Ok(())
}

async fn gone(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    bench.platform.remove_instance(&live.instance, RemoveOptions::forced()).await?;
    let shown = shown(bench, &live).await?;
    hidden(bench, live.key(), "what the backend still shows after the removal", &shown)
}

/// Without the claim, the backend shows the boot document: that is what secrets are refused for.
pub(super) async fn not_hidden(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    match hidden(bench, live.key(), "what the backend shows", &shown(bench, &live).await?) {
        Ok(()) => {
            Err(Flaw::not_proven("the boot document was not seen where it is not claimed to be hidden"))
        }
        Err(_) => Ok(()),
    }
}

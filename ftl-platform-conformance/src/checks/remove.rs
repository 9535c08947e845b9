//! What is removed is gone, and only then.

use ftl_core::platform::{ErrorKind, InstanceRef, RemoveOptions};

use crate::bench::Bench;
use crate::check::{Check, Flaw, Verdict, ensure};
use crate::probe::Order;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "remove::running",
        "what runs is forgotten, and runs on unseen",
        "remove_instance \"running: Conflict\"",
        |bench| Box::pin(running(bench)),
    ),
    Check::new(
        "remove::ended",
        "what ended is told of for ever",
        "remove_instance \"forget an ended instance\"",
        |bench| Box::pin(ended(bench)),
    ),
    Check::new(
        "remove::force",
        "a forced removal leaves a process that nobody sees",
        "remove_instance \"unless force (kill first)\"",
        |bench| Box::pin(force(bench)),
    ),
    Check::new(
        "remove::twice",
        "a removal whose answer was lost cannot be asked again",
        "remove_instance \"unknown key: Ok\"",
        |bench| Box::pin(twice(bench)),
    ),
];

async fn running(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    match bench.platform.remove_instance(&live.instance, RemoveOptions::default()).await {
        Ok(()) => return Err(Flaw::broken("an instance that runs was removed without force")),
        Err(error) => {
            ensure!(error.kind == ErrorKind::Conflict, "refused as {:?}, not as Conflict", error.kind)
        }
    }
    ensure!(live.probe.serves().await, "the refused removal ended it");
    ensure!(bench.status(live.key()).await?.is_some(), "the refused removal made it unseen");
    Ok(())
}

async fn ended(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.end(Order::Exit { code: 0 }).await?;
    bench.ended(live.key()).await?;
    bench.platform.remove_instance(&live.instance, RemoveOptions::default()).await?;
    ensure!(bench.status(live.key()).await?.is_none(), "observe still tells of what was removed");
    Ok(())
}

async fn force(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    live.probe.order(Order::IgnoreTerm).await?;
    bench.platform.remove_instance(&live.instance, RemoveOptions::forced()).await?;
    ensure!(bench.status(live.key()).await?.is_none(), "observe still tells of what was removed");
    bench.gone(&live.probe).await
}

async fn twice(bench: &Bench) -> Verdict {
    let live = bench.start().await?;
    bench.platform.remove_instance(&live.instance, RemoveOptions::forced()).await?;
    bench.platform.remove_instance(&live.instance, RemoveOptions::default()).await?;
    let key = bench.key();
    let nobody = InstanceRef::new(bench.cluster.clone(), key, key.to_string());
    bench.platform.remove_instance(&nobody, RemoveOptions::default()).await?;
    Ok(())
}

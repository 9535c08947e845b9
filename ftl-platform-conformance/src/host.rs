//! A Controller in a process of its own: it makes an instance, and is killed in the middle.

use std::io;

use ftl_core::boot::Boot;
use ftl_core::key::{Epoch, RunnerKey};
use ftl_core::name::{ClusterId, Language};
use ftl_core::platform::{ClusterSpec, InstanceSpec};
use ftl_core::{PlatformExt, Secret};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};

use crate::fixture::Fixture;

/// Who owns the clusters of a run.
const OWNER: &str = "conformance";
/// What a host says before it makes its cluster ready.
pub(crate) const PREPARING: &str = "preparing";
/// What it says before it creates the instance.
pub(crate) const CREATING: &str = "creating";
/// Longest line that a host reads, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// One instance, as much as differs between instances: the same words make the same instance, whoever says them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) cluster: ClusterId,
    pub(crate) runner: RunnerKey,
    pub(crate) language: Language,
    pub(crate) generation: Epoch,
    /// Where the suite listens already.
    pub(crate) listening: Vec<String>,
    /// Where the probe is told to dial.
    pub(crate) dial: Vec<String>,
    pub(crate) secret: String,
}

impl Asked {
    pub(crate) fn cluster(&self, fixture: &dyn Fixture) -> ClusterSpec {
        let mut spec = ClusterSpec::new(self.cluster.clone(), self.generation, self.listening.clone());
        spec.programs = fixture.program();
        spec.owner = OWNER.to_owned();
        spec
    }

    pub(crate) fn boot(&self) -> Secret {
        let secret = Secret::new(self.secret.clone().into_bytes());
        let (cluster, language) = (self.cluster.clone(), self.language.clone());
        Boot::new(cluster, self.runner, language, self.generation, self.dial.clone(), secret).to_document()
    }

    pub(crate) fn instance(&self, fixture: &dyn Fixture) -> InstanceSpec {
        let (cluster, language) = (self.cluster.clone(), self.language.clone());
        let (generation, program) = (self.generation, fixture.program());
        InstanceSpec::new(cluster, self.runner, language, generation, program, self.boot())
    }
}

/// Does what a Controller does that starts and creates one instance, which it is told of on its standard input; says on its
/// standard output what it is about to do, and waits to be killed.
///
/// # Errors
/// When it is not told what it is to do, or the platform refuses.
pub async fn host(fixture: &dyn Fixture) -> io::Result<()> {
    serve(fixture, tokio::io::stdin(), tokio::io::stdout()).await
}

async fn serve(
    fixture: &dyn Fixture,
    told: impl AsyncRead + Unpin,
    mut says: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut line = String::new();
    let mut told = BufReader::new(told.take(LINE_BYTES_MAX));
    told.read_line(&mut line).await?;
    let asked: Asked = serde_json::from_str(&line)?;
    say(&mut says, PREPARING).await?;
    let platform = fixture.platform().await.map_err(io::Error::other)?;
    platform.prepare(&asked.cluster(fixture)).await.map_err(io::Error::other)?;
    say(&mut says, CREATING).await?;
    platform.create_runner(&asked.instance(fixture)).await.map_err(io::Error::other)?;
    // Whoever told it may be gone without having killed it.
    told.read_line(&mut line).await.map(drop)
}

async fn say(to: &mut (impl AsyncWrite + Unpin), word: &str) -> io::Result<()> {
    to.write_all(format!("{word}\n").as_bytes()).await?;
    to.flush().await
}

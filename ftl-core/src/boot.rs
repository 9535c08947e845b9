//! The boot document: all that a Runner needs to find its Controller and to prove who it is.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::{Epoch, RunnerKey};
use crate::name::{ClusterId, Language};
use crate::secret::Secret;

/// The environment variable that holds the *path* of the boot document; a path is no secret.
pub const BOOT_VARIABLE: &str = "FTL_BOOT";
/// Set by a platform whose instances have no system around them: the Runner starts user code with the libraries that
/// its deployment brings ([`Mode::Library`](crate::artefact::Mode::Library)).
pub const LIBRARIES_VARIABLE: &str = "FTL_LIBRARIES";
/// Largest boot document, in bytes.
pub const BOOT_BYTES_MAX: usize = 64 << 10;
/// The version of the document that is written here.
pub const BOOT_VERSION: u32 = 1;

/// What a Runner reads at its start. It unlinks the file after reading it.
///
/// ```
/// use ftl_core::{Secret, boot::Boot, key::{Epoch, RunnerKey}};
/// let boot = Boot::new(
///     "c1".parse().unwrap(),
///     RunnerKey(41),
///     "rust".parse().unwrap(),
///     Epoch(7),
///     vec!["unix:/run/ftl/wire".into()],
///     Secret::new([7; 32]),
/// );
/// let document = boot.to_document();
/// assert_eq!(Boot::from_document(document.expose()).unwrap(), boot);
/// assert!(!format!("{boot:?}").contains("070707"));
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Boot {
    /// The cluster that the Runner belongs to.
    pub cluster: ClusterId,
    /// Its key.
    pub runner: RunnerKey,
    /// What it is to run.
    pub language: Language,
    /// The Controller's life that created it.
    pub generation: Epoch,
    /// Where the Controller listens, `unix:PATH` or `tcp:HOST:PORT`, in the order in which to try.
    pub controller: Vec<String>,
    /// What it proves itself with.
    pub secret: Secret,
}

#[derive(Serialize, Deserialize)]
struct Document {
    boot: u32,
    cluster: ClusterId,
    runner: RunnerKey,
    language: Language,
    generation: Epoch,
    controller: Vec<String>,
    secret: String,
}

/// Why a boot document cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BootError {
    /// It is no such document.
    #[error("the boot document cannot be read")]
    Json(#[source] serde_json::Error),
    /// It has another version.
    #[error(
        "the boot document has version {0}, this runner reads {BOOT_VERSION}: use a runner of the Controller's version"
    )]
    Version(u32),
    /// It names no address, or its secret is not hexadecimal.
    #[error("the boot document has no usable {0}")]
    Missing(&'static str),
}

impl Boot {
    /// Puts a document together.
    #[must_use]
    pub fn new(
        cluster: ClusterId,
        runner: RunnerKey,
        language: Language,
        generation: Epoch,
        controller: Vec<String>,
        secret: Secret,
    ) -> Self {
        Self { cluster, runner, language, generation, controller, secret }
    }

    /// The bytes to hand to the Runner. They hold the secret.
    #[must_use]
    pub fn to_document(&self) -> Secret {
        let document = Document {
            boot: BOOT_VERSION,
            cluster: self.cluster.clone(),
            runner: self.runner,
            language: self.language.clone(),
            generation: self.generation,
            controller: self.controller.clone(),
            secret: self.secret.expose().iter().map(|byte| format!("{byte:02x}")).collect(),
        };
        // A document of strings and numbers always has a JSON form.
        Secret::new(serde_json::to_vec(&document).unwrap_or_default())
    }

    /// Reads the bytes that a Runner found.
    ///
    /// # Errors
    /// When they are no boot document of this version, or lack an address or a secret.
    pub fn from_document(bytes: &[u8]) -> Result<Self, BootError> {
        let document: Document = serde_json::from_slice(bytes).map_err(BootError::Json)?;
        if document.boot != BOOT_VERSION {
            return Err(BootError::Version(document.boot));
        }
        if document.controller.is_empty() {
            return Err(BootError::Missing("address"));
        }
        let secret = unhex(&document.secret).ok_or(BootError::Missing("secret"))?;
        Ok(Self {
            cluster: document.cluster,
            runner: document.runner,
            language: document.language,
            generation: document.generation,
            controller: document.controller,
            secret: Secret::new(secret),
        })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.is_empty() || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

impl fmt::Debug for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Boot")
            .field("cluster", &self.cluster)
            .field("runner", &self.runner)
            .field("generation", &self.generation)
            .field("controller", &self.controller)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

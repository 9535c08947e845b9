//! What a Runner is told by whoever starts it.

use std::env;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use ftl_core::boot::{BOOT_BYTES_MAX, BOOT_VARIABLE, Boot, BootError, LIBRARIES_VARIABLE};

/// Names the directory that is the Runner's own.
const DIRECTORY_VARIABLE: &str = "FTL_DIR";
/// `stdin`: the Runner is to end when its standard input closes.
const LIFELINE_VARIABLE: &str = "FTL_LIFELINE";

/// What a Runner is told.
#[derive(Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whom to dial, and how to prove who it is.
    pub boot: Boot,
    /// Where the deployment's files go. Whoever made it removes it.
    pub directory: PathBuf,
    /// Whether the end of standard input is the end of the Runner (*tied* mode).
    pub lifeline: bool,
    /// Whether user code is started with the libraries that its deployment brings, because there are none around.
    pub libraries: bool,
    /// How long it waits for what.
    pub timings: Timings,
}

/// How long a Runner waits for what.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timings {
    /// Between two reports of the same state; a Controller takes a Runner for lost after several of them.
    pub heartbeat: Duration,
    /// First pause before dialling again …
    pub redial_first: Duration,
    /// … and the longest: below the time for which a starting Controller holds its table.
    pub redial_max: Duration,
    /// From the start of the user code until it answers a ping; below the Controller's own patience, so that it is
    /// the Runner who says what went wrong.
    pub alive: Duration,
    /// For calls to finish when somebody else than the Controller asks the Runner to end.
    pub grace: Duration,
    /// Between asking the user code to end and killing it.
    pub child_grace: Duration,
    /// For the Controller to take the last words of a Runner that ends.
    pub last_words: Duration,
    /// Without any Controller that lets it in: then nobody will come back for this Runner, and it ends by itself. Far
    /// longer than a Controller needs to be restarted, or a person to notice that it is down.
    pub orphan: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
            redial_first: Duration::from_millis(50),
            redial_max: Duration::from_secs(2),
            alive: Duration::from_secs(20),
            grace: Duration::from_secs(30),
            child_grace: Duration::from_secs(5),
            last_words: Duration::from_secs(3),
            orphan: Duration::from_secs(15 * 60),
        }
    }
}

/// Why a Runner cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// It was not started by a platform.
    #[error(
        "`{BOOT_VARIABLE}` does not name a boot document: a runner is started by a platform, not by hand"
    )]
    NoBoot,
    /// The boot document is not there.
    #[error("the boot document cannot be read")]
    Read(#[source] io::Error),
    /// The boot document is no such thing.
    #[error("the boot document is of no use")]
    Boot(#[source] BootError),
    /// No directory could be made.
    #[error("the runner's directory cannot be made")]
    Directory(#[source] io::Error),
}

impl Options {
    /// Reads what the platform left in the environment, and removes the boot document.
    ///
    /// # Errors
    /// When there is no boot document that can be read.
    pub fn from_environment() -> Result<Self, OptionsError> {
        let path = env::var_os(BOOT_VARIABLE).map(PathBuf::from).ok_or(OptionsError::NoBoot)?;
        let length = fs::metadata(&path).map_err(OptionsError::Read)?.len();
        if length > BOOT_BYTES_MAX as u64 {
            let message = format!("it has {length} bytes, at most {BOOT_BYTES_MAX} are expected");
            return Err(OptionsError::Read(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        let document = fs::read(&path).map_err(OptionsError::Read)?;
        let boot = Boot::from_document(&document).map_err(OptionsError::Boot)?;
        // It was needed once. A read-only boot volume keeps it, and that is the platform's choice.
        let _ = fs::remove_file(&path);
        let directory = match env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from) {
            Some(directory) => directory,
            None => env::current_dir().map_err(OptionsError::Directory)?,
        };
        let lifeline = env::var(LIFELINE_VARIABLE).is_ok_and(|value| value == "stdin");
        let libraries = env::var(LIBRARIES_VARIABLE).is_ok_and(|value| value == "artefacts");
        Ok(Self { boot, directory, lifeline, libraries, timings: Timings::default() })
    }
}

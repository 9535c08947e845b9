//! The platforms that this binary knows, and how each of them is made to be checked.

use std::path::Path;
use std::sync::Arc;

use ftl_core::platform::{ErrorKind, PlatformError, ProgramSource};
use ftl_platform_conformance::Fixture;
use ftl_platform_conformance::fixtures::{Memory, Processes};
use ftl_platform_local::Local;

use crate::compile::target;
use crate::error::CliError;

/// A platform that can be checked.
#[derive(Debug)]
pub(crate) struct Known {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Whether a Controller of this binary has it.
    pub(crate) configured: bool,
    /// Makes it, over a folder that is removed afterwards.
    pub(crate) make: fn(&Path) -> Result<Arc<dyn Fixture>, CliError>,
}

/// Every platform that this binary knows.
pub(crate) const KNOWN: &[Known] = &[
    Known { name: "memory", configured: false, make: memory },
    Known { name: "local", configured: true, make: local },
];

/// The platform of this name.
pub(crate) fn find(name: &str) -> Result<&'static Known, CliError> {
    KNOWN.iter().find(|known| known.name == name).ok_or_else(|| {
        let known: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
        CliError::usage(format!("there is no platform `{name}`"))
            .hint(format!("the known ones are {}", known.join(", ")))
    })
}

fn memory(_folder: &Path) -> Result<Arc<dyn Fixture>, CliError> {
    Ok(Arc::new(Memory::default()))
}

fn local(folder: &Path) -> Result<Arc<dyn Fixture>, CliError> {
    let (name, target) = (platform_name("local")?, target()?);
    let fixture = Processes::new(folder, probe()?, move |folder| {
        let options = ftl_platform_local::Options::new(name.clone(), folder.to_owned(), target.clone());
        Ok(Arc::new(Local::new(options).map_err(|error| unusable(folder, error))?))
    });
    Ok(Arc::new(fixture))
}

/// This binary as the program that is started.
fn probe() -> Result<ProgramSource, CliError> {
    let path = std::env::current_exe()
        .map_err(|error| CliError::failed("this program does not know where it is").because(error))?;
    Ok(ProgramSource::Binary { path, args: vec!["probe".to_owned()] })
}

fn platform_name(name: &str) -> Result<ftl_core::name::PlatformName, CliError> {
    name.parse().map_err(|error| CliError::failed("the platform has no name").because(error))
}

fn unusable(folder: &Path, error: std::io::Error) -> PlatformError {
    let message = format!("the folder {} cannot be used", folder.display());
    PlatformError::new(ErrorKind::Unavailable, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_platform_names_the_known_ones() {
        assert_eq!(find("memory").unwrap().name, "memory");
        let error = find("dokcer").unwrap_err().to_string();
        assert!(KNOWN.iter().all(|known| error.contains(known.name)), "{error}");
    }
}

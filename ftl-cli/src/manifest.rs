//! `ftl.toml`, the one optional manifest beside the workspace's `Cargo.toml`.
//!
//! ```toml
//! [controller]
//! url = "http://127.0.0.1:8892"
//!
//! [modules.greeter]
//! replicas = 2
//! platform = "local"
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use ftl_core::controller::REPLICAS_MAX;
use ftl_core::name::{ModuleName, PlatformName, nearest};
use serde::Deserialize;

use crate::error::CliError;

/// The name of the file.
pub(crate) const FILE: &str = "ftl.toml";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Manifest {
    /// Which Controller commands talk to.
    pub(crate) controller: ControllerTable,
    /// What each module is to be.
    pub(crate) modules: BTreeMap<ModuleName, ModuleTable>,
}

/// `[controller]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ControllerTable {
    /// Where it answers.
    pub(crate) url: Option<String>,
    /// The file with its token.
    pub(crate) token_file: Option<std::path::PathBuf>,
}

/// `[modules.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ModuleTable {
    /// How many replicas run.
    pub(crate) replicas: u16,
    /// Where they run; what the command says otherwise.
    pub(crate) platform: Option<PlatformName>,
}

impl Default for ModuleTable {
    fn default() -> Self {
        Self { replicas: 1, platform: None }
    }
}

impl Manifest {
    /// Reads the manifest of a directory; without a file, everything has its default.
    pub(crate) fn read(directory: &Path) -> Result<Self, CliError> {
        let path = directory.join(FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(CliError::failed(format!("{} cannot be read", path.display())).because(error)),
        }
    }

    fn parse(text: &str, file: &str) -> Result<Self, CliError> {
        let manifest: Self = toml::from_str(text).map_err(|error| explain(&error, text, file))?;
        for (module, table) in &manifest.modules {
            if !(1..=REPLICAS_MAX).contains(&table.replicas) {
                let found = table.replicas;
                let message =
                    format!("{file}: modules.{module}.replicas is {found}, it must be 1 to {REPLICAS_MAX}");
                return Err(CliError::usage(message));
            }
        }
        Ok(manifest)
    }

    /// What a module is to be.
    pub(crate) fn module(&self, name: &ModuleName) -> ModuleTable {
        self.modules.get(name).cloned().unwrap_or_default()
    }
}

/// Names the line, and for an unknown key the nearest known one.
fn explain(error: &toml::de::Error, text: &str, file: &str) -> CliError {
    let line = error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
    let mut failed = CliError::usage(format!("{file}, line {line}: {}", error.message()));
    let mut quoted = error.message().split('`').skip(1).step_by(2);
    if error.message().starts_with("unknown field")
        && let Some(found) = quoted.next()
        && let Some(known) = nearest(found, quoted)
    {
        failed = failed.hint(format!("did you mean `{known}`?"));
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
        let error = Manifest::parse("[modules.greeter]\nreplica = 2\n", "ftl.toml").unwrap_err();
        assert_eq!(
            error.to_string(),
            "error: ftl.toml, line 2: unknown field `replica`, expected `replicas` or `platform`\n  help: did you mean `replicas`?"
        );
    }

    #[test]
    fn defaults_are_one_local_replica() {
        let manifest = Manifest::parse("[modules.greeter]\nreplicas = 3\n", "ftl.toml").unwrap();
        assert_eq!(manifest.module(&"greeter".parse().unwrap()).replicas, 3);
        assert_eq!(manifest.module(&"clock".parse().unwrap()), ModuleTable { replicas: 1, platform: None });
        assert!(Manifest::parse("[modules.greeter]\nreplicas = 0\n", "ftl.toml").is_err());
        assert!(Manifest::parse("[modules.Greeter]\n", "ftl.toml").is_err());
    }
}

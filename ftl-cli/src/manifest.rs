//! `ftl.toml`, the one optional manifest beside the workspace's `Cargo.toml`.
//!
//! ```toml
//! [controller]
//! url = "http://127.0.0.1:8892"
//!
//! [modules.greeter]
//! replicas = 2
//! platform = "docker"
//! memory = "256 MiB"            # swap and temporary files included
//! cpu = 0.5                     # of a processor
//! pids = 100                    # processes and threads
//! networks = ["shop_default"]   # that are there already
//! best_effort = true            # leave out what the platform cannot do, instead of refusing
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use ftl_core::controller::REPLICAS_MAX;
use ftl_core::name::{ModuleName, NetworkName, PlatformName, nearest};
use ftl_core::platform::Needs;
use serde::Deserialize;

use crate::error::CliError;

/// Most processors that a module may ask for.
const CPU_MAX: f64 = 1024.0;
/// The name of the file.
pub(crate) const FILE: &str = "ftl.toml";

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ModuleTable {
    /// How many replicas run.
    pub(crate) replicas: u16,
    /// Where they run; what the command says otherwise.
    pub(crate) platform: Option<PlatformName>,
    /// Memory at most.
    pub(crate) memory: Option<Bytes>,
    /// Processors at most.
    pub(crate) cpu: Option<f64>,
    /// Processes and threads at most.
    pub(crate) pids: Option<u32>,
    /// Networks to join.
    pub(crate) networks: Vec<NetworkName>,
    /// What the platform cannot do is left out.
    pub(crate) best_effort: bool,
}

impl Default for ModuleTable {
    fn default() -> Self {
        Self {
            replicas: 1,
            platform: None,
            memory: None,
            cpu: None,
            pids: None,
            networks: Vec::new(),
            best_effort: false,
        }
    }
}

impl ModuleTable {
    /// What the module asks of the machine.
    pub(crate) fn needs(&self) -> Needs {
        let mut needs = Needs::default();
        needs.limits.memory_bytes = self.memory.map(|bytes| bytes.0);
        // Checked when the file was read: positive, and far below what the type holds.
        needs.limits.cpu_millis = self.cpu.map(|cpu| (cpu * 1000.0).round() as u32);
        needs.limits.pids = self.pids;
        needs.networks.clone_from(&self.networks);
        needs.best_effort = self.best_effort;
        needs
    }

    fn check(&self) -> Result<(), String> {
        if !(1..=REPLICAS_MAX).contains(&self.replicas) {
            return Err(format!("replicas is {}, it must be 1 to {REPLICAS_MAX}", self.replicas));
        }
        match self.cpu {
            Some(cpu) if !(0.001..=CPU_MAX).contains(&cpu) => {
                Err(format!("cpu is {cpu}, it must be 0.001 to {CPU_MAX}"))
            }
            _ => Ok(()),
        }
    }
}

/// A number of bytes: a whole number, or a text as `64 MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(u64);

impl FromStr for Bytes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let shift = match unit.trim() {
            "" => 0,
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            _ => {
                return Err(format!(
                    "`{text}` is no size: write bytes, or as `64 MiB`, with KiB, MiB or GiB"
                ));
            }
        };
        let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
        number.map(Self).ok_or_else(|| format!("`{text}` is no size: write bytes, or as `64 MiB`"))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
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
            let refused = |words| CliError::usage(format!("{file}: modules.{module}.{words}"));
            table.check().map_err(refused)?;
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
            "error: ftl.toml, line 2: unknown field `replica`, expected one of `replicas`, `platform`, `memory`, `cpu`, `pids`, `networks`, `best_effort`\n  help: did you mean `replicas`?"
        );
    }

    #[test]
    fn defaults_are_one_local_replica() {
        let manifest = Manifest::parse("[modules.greeter]\nreplicas = 3\n", "ftl.toml").unwrap();
        assert_eq!(manifest.module(&"greeter".parse().unwrap()).replicas, 3);
        assert_eq!(manifest.module(&"clock".parse().unwrap()), ModuleTable::default());
        assert!(ModuleTable::default().needs().is_nothing());
        assert!(Manifest::parse("[modules.greeter]\nreplicas = 0\n", "ftl.toml").is_err());
        assert!(Manifest::parse("[modules.Greeter]\n", "ftl.toml").is_err());
    }

    #[test]
    fn needs_are_read_in_their_units() {
        let text = "[modules.a]\nmemory = \"64 MiB\"\ncpu = 0.5\npids = 100\nnetworks = [\"shop_default\"]\n";
        let needs = Manifest::parse(text, "ftl.toml").unwrap().module(&"a".parse().unwrap()).needs();
        assert_eq!(needs.limits.memory_bytes, Some(64 << 20));
        assert_eq!(needs.limits.cpu_millis, Some(500));
        assert_eq!((needs.limits.pids, needs.networks[0].as_str()), (Some(100), "shop_default"));
        assert_eq!("4096".parse(), Ok(Bytes(4096)));
        for refused in
            ["memory = \"64 MB\"", "memory = \"MiB\"", "cpu = 0.0", "cpu = -1.0", "networks = [\"../x\"]"]
        {
            assert!(Manifest::parse(&format!("[modules.a]\n{refused}\n"), "ftl.toml").is_err(), "{refused}");
        }
    }
}

//! Finds the modules of a project in a cargo workspace.

use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, TargetKind};
use ftl_core::name::ModuleName;

use crate::error::CliError;
use crate::exit::Exit;

/// The package that a module depends on.
const SDK_PACKAGE: &str = "ftl-sdk";

/// A project: the modules at or below a path.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// Named after the path.
    pub(crate) name: String,
    /// Where the workspace's `Cargo.toml` is.
    pub(crate) root: PathBuf,
    /// Ordered by name; never empty.
    pub(crate) modules: Vec<ModulePackage>,
}

/// A workspace member that is a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModulePackage {
    /// The module: the package's name with `-` read as `_`.
    pub(crate) name: ModuleName,
    /// The package.
    pub(crate) package: String,
    /// Its one binary.
    pub(crate) binary: String,
}

impl Project {
    /// Finds the modules at or below `path`.
    pub(crate) fn find(path: &Path) -> Result<Self, CliError> {
        let directory = path.canonicalize().map_err(|error| {
            CliError::usage(format!("the path {} cannot be read", path.display())).because(error)
        })?;
        let metadata = metadata(&directory)?;
        let mut modules = modules_below(&metadata, &directory)?;
        modules.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = modules.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let (name, first, second) = (&pair[0].name, &pair[0].package, &pair[1].package);
            let message = format!("the packages `{first}` and `{second}` are both the module `{name}`");
            return Err(CliError::failed(message)
                .hint("rename one of them: `-` and `_` are the same in a module's name"));
        }
        if modules.is_empty() {
            let message = format!("there is no module at or below {}", path.display());
            let hint = "a module is a workspace member that depends on `ftl-sdk`, calls `ftl::module!` and has one binary";
            return Err(CliError::failed(message).hint(hint));
        }
        let name = directory
            .file_name()
            .map_or_else(|| "project".into(), |name| name.to_string_lossy().into_owned());
        Ok(Self { name, root: metadata.workspace_root.into_std_path_buf(), modules })
    }
}

fn metadata(directory: &Path) -> Result<Metadata, CliError> {
    let start = if directory.is_dir() { directory } else { directory.parent().unwrap_or(directory) };
    let manifest =
        start.ancestors().map(|parent| parent.join("Cargo.toml")).find(|manifest| manifest.is_file());
    let Some(manifest) = manifest else {
        let message = format!("{} is not in a cargo workspace", directory.display());
        return Err(CliError::failed(message).hint("give the path of a workspace, or of a folder in one"));
    };
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().map_err(|error| match error {
        cargo_metadata::Error::CargoMetadata { stderr } => {
            CliError::failed(format!("cargo cannot read the workspace:\n{}", stderr.trim()))
        }
        other => CliError::new(Exit::Failed, "cargo", "cargo cannot read the workspace").because(other),
    })
}

fn modules_below(metadata: &Metadata, directory: &Path) -> Result<Vec<ModulePackage>, CliError> {
    let members = metadata.workspace_packages().into_iter();
    members
        .filter(|package| is_module(package) && package.manifest_path.as_std_path().starts_with(directory))
        .map(module)
        .collect()
}

fn is_module(package: &Package) -> bool {
    let uses_sdk = |dependency: &cargo_metadata::Dependency| {
        dependency.name.as_str() == SDK_PACKAGE && dependency.kind == DependencyKind::Normal
    };
    package.dependencies.iter().any(uses_sdk) && binaries(package).count() == 1
}

fn binaries(package: &Package) -> impl Iterator<Item = &str> {
    let is_binary = |target: &&cargo_metadata::Target| target.kind.contains(&TargetKind::Bin);
    package.targets.iter().filter(is_binary).map(|target| target.name.as_str())
}

fn module(package: &Package) -> Result<ModulePackage, CliError> {
    let name = ModuleName::of_package(&package.name).map_err(|error| {
        CliError::failed(format!("the package `{}` cannot be a module", package.name)).because(error)
    })?;
    let binary = binaries(package).next().unwrap_or_default().to_owned();
    Ok(ModulePackage { name, package: package.name.to_string(), binary })
}

//! The files of a deployment: the program, and the libraries that it needs where there are none.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use ftl_core::artefact::{Artefact, LIBRARIES, LOADER, Manifest, Mode};
use ftl_core::digest::{Digest, Hasher};
use ftl_core::name::ModuleName;
use ftl_platform_docker::closure::{self, Closure};

use crate::error::CliError;

/// Read at once when a file is digested.
const READ_BYTES: usize = 1 << 20;

/// Gathers the files of several modules; what they share is read once.
#[derive(Debug, Default)]
pub(crate) struct Gatherer {
    known: HashMap<PathBuf, (Digest, u64)>,
}

impl Gatherer {
    /// The files of a module with this program.
    pub(crate) fn gather(&mut self, module: &ModuleName, program: &Path) -> Result<Manifest, CliError> {
        let refused = |error: &dyn std::fmt::Display| {
            CliError::failed(format!("`{module}` cannot be deployed: {error}"))
        };
        let mut artefacts = vec![self.artefact(&format!("bin/{module}"), program, Mode::Executable)?];
        let Closure { loader, libraries, .. } = needed_by(program)?;
        if let Some(loader) = loader {
            artefacts.push(self.artefact(LOADER, &real(&loader)?, Mode::Library)?);
        }
        for library in libraries {
            let path = format!("{LIBRARIES}/{}", library.name);
            artefacts.push(self.artefact(&path, &real(&library.path)?, Mode::Library)?);
        }
        Manifest::new(artefacts).map_err(|error| refused(&error))
    }

    /// Where the bytes of each file are.
    pub(crate) fn files(&self, manifest: &Manifest) -> HashMap<Digest, PathBuf> {
        let digests = manifest.digests();
        let known = self.known.iter().filter(|(_, (digest, _))| digests.contains(digest));
        known.map(|(path, (digest, _))| (*digest, path.clone())).collect()
    }

    fn artefact(&mut self, path: &str, file: &Path, mode: Mode) -> Result<Artefact, CliError> {
        let (digest, size) = match self.known.get(file) {
            Some(known) => *known,
            None => {
                let read = digest_file(file).map_err(|error| cannot_read(file, error))?;
                self.known.insert(file.to_owned(), read);
                read
            }
        };
        let path =
            path.parse().map_err(|error| CliError::failed("an artefact has no path").because(error))?;
        Ok(Artefact { path, digest, size, mode })
    }
}

/// What a program of Linux needs. Of one for another system nothing is known, and nothing is brought.
fn needed_by(program: &Path) -> Result<Closure, CliError> {
    match closure::of(program) {
        Err(closure::ClosureError::NotElf { .. }) => Ok(Closure::default()),
        needed => needed.map_err(|error| CliError::failed("a module could not run elsewhere").because(error)),
    }
}

/// Libraries are found under links; an artefact is a file.
fn real(path: &Path) -> Result<PathBuf, CliError> {
    path.canonicalize().map_err(|error| cannot_read(path, error))
}

fn cannot_read(path: &Path, error: std::io::Error) -> CliError {
    CliError::failed(format!("{} cannot be read", path.display())).because(error)
}

/// What a file holds. A link is refused: what it names could be exchanged after it was looked at.
fn digest_file(path: &Path) -> std::io::Result<(Digest, u64)> {
    use std::io::Read;
    if std::fs::symlink_metadata(path)?.is_symlink() {
        return Err(std::io::Error::other("it is a symbolic link; an artefact must be a file"));
    }
    let mut file = std::fs::File::open(path)?;
    let (mut hasher, mut size) = (Hasher::default(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hasher.finish(), size)),
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_digested_and_a_link_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, "content").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(digest_file(&file).unwrap(), (Digest::of(b"content"), 7));
        assert!(digest_file(&link).unwrap_err().to_string().contains("symbolic link"));
    }

    #[test]
    fn a_program_brings_its_loader_and_libraries_and_shares_them() {
        let program = std::env::current_exe().unwrap();
        let mut gatherer = Gatherer::default();
        let manifest = gatherer.gather(&"a".parse().unwrap(), &program).unwrap();
        let files = gatherer.files(&manifest);
        assert!(manifest.digests().iter().all(|digest| files.contains_key(digest)));
        assert_eq!(manifest.program().unwrap().path.as_str(), "bin/a");
        let paths: Vec<&str> = manifest.artefacts().iter().map(|artefact| artefact.path.as_str()).collect();
        if cfg!(target_env = "gnu") {
            assert!(paths.contains(&LOADER) && paths.contains(&"lib/libc.so.6"), "{paths:?}");
        }
        let known = gatherer.known.len();
        gatherer.gather(&"b".parse().unwrap(), &program).unwrap();
        assert_eq!(gatherer.known.len(), known);
    }

    #[test]
    fn what_is_no_program_of_linux_brings_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        let manifest = Gatherer::default().gather(&"a".parse().unwrap(), &script).unwrap();
        assert_eq!(manifest.artefacts().len(), 1);
    }
}

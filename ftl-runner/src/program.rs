//! How user code is started: by the system around the Runner, or by the loader and the libraries that it brings.
//!
//! A program that is started by its own loader has that loader as `/proc/self/exe`; its arguments are as ever.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use ftl_core::artefact::{LIBRARIES, LOADER};
use object::Endianness;
use object::elf::FileHeader64;
use object::read::ReadCache;
use object::read::elf::{FileHeader, ProgramHeader};
use tokio::process::Command;
use tokio::time::timeout;

/// How long a loader may take to list libraries: it reads a few files.
const LIST_MAX: Duration = Duration::from_secs(10);

/// A program that can be started.
#[derive(Debug)]
pub(crate) struct Program {
    path: PathBuf,
    /// The directory of the deployment's files, whose loader starts it.
    brought: Option<PathBuf>,
}

impl Program {
    /// A program among a deployment's files, started by what they bring if `libraries` were fetched.
    pub(crate) fn new(path: PathBuf, files: &Path, libraries: bool) -> Self {
        let brought = (libraries && files.join(LOADER).exists()).then(|| files.to_owned());
        Self { path, brought }
    }

    /// The command that starts it.
    pub(crate) fn command(&self) -> Command {
        let Some(files) = &self.brought else { return Command::new(&self.path) };
        let mut command = Command::new(files.join(LOADER));
        command
            .arg("--library-path")
            .arg(files.join(LIBRARIES))
            .arg("--argv0")
            .arg(&self.path)
            .arg(&self.path);
        command
    }

    /// Says in words what the kernel would answer with a bare ENOENT, and a loader with an exit code.
    pub(crate) async fn check(&self) -> Result<(), String> {
        match &self.brought {
            Some(files) => self.check_libraries(files).await,
            None => check_interpreter(&self.path),
        }
    }

    async fn check_libraries(&self, files: &Path) -> Result<(), String> {
        let mut list = Command::new(files.join(LOADER));
        list.arg("--library-path").arg(files.join(LIBRARIES)).arg("--list").arg(&self.path);
        list.stdin(Stdio::null()).kill_on_drop(true);
        let listed = match timeout(LIST_MAX, list.output()).await {
            Err(_) => return Err(format!("its loader did not list its libraries within {LIST_MAX:?}")),
            Ok(Err(error)) => return Err(format!("its loader cannot be started: {error}")),
            Ok(Ok(listed)) => listed,
        };
        let listed = String::from_utf8_lossy(&listed.stdout);
        let missing = missing_libraries(&listed);
        if missing.is_empty() {
            return Ok(());
        }
        Err(format!(
            "it needs {}, which its deployment does not bring: install it where it is built, or `ftl build --static`",
            missing.join(", ")
        ))
    }
}

/// The libraries that a loader did not find, of what it listed.
fn missing_libraries(listed: &str) -> Vec<&str> {
    let lines = listed.lines().filter_map(|line| line.trim().split_once(" => "));
    lines.filter(|(_, found)| found.starts_with("not found")).map(|(name, _)| name).collect()
}

fn check_interpreter(program: &Path) -> Result<(), String> {
    match interpreter(program) {
        Some(interpreter) if !interpreter.exists() => Err(format!(
            "it is dynamically linked against {}, which is missing here: deploy it with this version of `ftl`, or `ftl build --static`",
            interpreter.display()
        )),
        _ => Ok(()),
    }
}

/// The loader that a program asks for, if it is one that asks for any.
fn interpreter(program: &Path) -> Option<PathBuf> {
    let data = ReadCache::new(File::open(program).ok()?);
    let header = FileHeader64::<Endianness>::parse(&data).ok()?;
    let endian = header.endian().ok()?;
    let mut headers = header.program_headers(endian, &data).ok()?.iter();
    let path = headers.find_map(|header| header.interpreter(endian, &data).ok().flatten())?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_loader_did_not_find_is_named() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibpq.so.5 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\tlibz.so.1 => not found\n";
        assert_eq!(missing_libraries(listed), ["libpq.so.5", "libz.so.1"]);
        assert!(missing_libraries("\tstatically linked\n").is_empty());
    }

    #[tokio::test]
    async fn a_missing_interpreter_is_named_before_the_start() {
        let here = std::env::current_exe().unwrap();
        let Some(loader) = interpreter(&here) else { return };
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Program::new(here.clone(), folder.path(), false).check().await, Ok(()));
        // The same program, asking for a loader that is nowhere.
        let loader = loader.into_os_string().into_encoded_bytes();
        let mut bytes = std::fs::read(&here).unwrap();
        let at = bytes.windows(loader.len()).position(|window| window == loader).unwrap();
        bytes[at + 1] = b'#';
        let elsewhere = folder.path().join("program");
        std::fs::write(&elsewhere, bytes).unwrap();
        let words = Program::new(elsewhere, folder.path(), false).check().await.unwrap_err();
        assert!(words.starts_with("it is dynamically linked against /#"), "{words}");
        // A script is the kernel's business.
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert_eq!(Program::new(script, folder.path(), false).check().await, Ok(()));
    }
}

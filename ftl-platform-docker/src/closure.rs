//! What a dynamically linked program needs to run on a machine that has none of it: its loader and its libraries.
//!
//! The loader itself is asked, because only it knows its rules. Libraries that a program opens while it runs
//! (`dlopen`) are not found. For executables of Linux.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use object::ReadCache;

use crate::elf::Head;

/// How long a loader may take to list libraries: it reads a few files.
pub const LIST_TIME_MAX: Duration = Duration::from_secs(10);
/// The largest list that is read, in bytes; a hundred libraries take ten thousand.
const LIST_BYTES_MAX: u64 = 1 << 20;
/// How often is looked whether the loader has ended.
const LIST_LOOK: Duration = Duration::from_millis(2);

/// What a program needs besides itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closure {
    /// The loader that starts the program, at the path under which the program asks for it. `None`: the program is
    /// statically linked and needs nothing.
    pub loader: Option<PathBuf>,
    /// Its libraries and theirs, ordered by name; without the loader.
    pub libraries: Vec<Library>,
}

/// A shared library.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Library {
    /// The file name by which the loader looks for it, as `libc.so.6`.
    pub name: String,
    /// Where it was found on this machine.
    pub path: PathBuf,
}

/// Why it cannot be said what a program needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClosureError {
    /// The program is not there, or may not be read.
    #[error("the program {} cannot be read", program.display())]
    Read {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program is a script, or for another system.
    #[error("{} is no executable of Linux", program.display())]
    NotElf {
        /// The program.
        program: PathBuf,
        /// What does not fit.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The program was linked for another system.
    #[error(
        "{} asks for the loader {}, which cannot be run on this machine: build the program here, or link it statically",
        program.display(),
        loader.display()
    )]
    Loader {
        /// The program.
        program: PathBuf,
        /// Its loader.
        loader: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A library is missing on this machine.
    #[error(
        "{} needs the library {library}, which is not found on this machine: install it, or put its directory into `LD_LIBRARY_PATH`",
        program.display()
    )]
    NotFound {
        /// The program.
        program: PathBuf,
        /// The library.
        library: String,
    },
    /// The loader refused.
    #[error("the loader {} cannot list the libraries of {}: {message}", loader.display(), program.display())]
    List {
        /// The program.
        program: PathBuf,
        /// Its loader.
        loader: PathBuf,
        /// What it said.
        message: String,
    },
}

/// What this program needs.
///
/// # Errors
/// When the program is no executable of Linux, its loader is not there, or one of its libraries is not.
pub fn of(program: &Path) -> Result<Closure, ClosureError> {
    // The loader takes a name without a slash for one to search.
    let program =
        program.canonicalize().map_err(|source| ClosureError::Read { program: program.into(), source })?;
    let Some(loader) = interpreter(&program)? else { return Ok(Closure::default()) };
    let listed = list(&loader, &program)?;
    let message = listed.errors.trim();
    let found = match parse(&listed.output) {
        Err(library) => return Err(ClosureError::NotFound { program, library }),
        Ok(found) if listed.status.success() => found,
        Ok(_) => {
            return Err(match missing(message) {
                Some(library) => ClosureError::NotFound { program, library },
                None => {
                    let message =
                        if message.is_empty() { listed.status.to_string() } else { message.to_owned() };
                    ClosureError::List { program, loader, message }
                }
            });
        }
    };
    let libraries = found
        .into_iter()
        .filter(|(_, path)| !same_file(path, &loader))
        .map(|(name, path)| Library { name, path })
        .collect();
    Ok(Closure { loader: Some(loader), libraries })
}

fn interpreter(program: &Path) -> Result<Option<PathBuf>, ClosureError> {
    let file =
        File::open(program).map_err(|source| ClosureError::Read { program: program.into(), source })?;
    let head = Head::read(&ReadCache::new(file))
        .map_err(|source| ClosureError::NotElf { program: program.into(), source: source.into() })?;
    Ok(head.interpreter.map(|path| PathBuf::from(OsStr::from_bytes(&path))))
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// What a loader said.
struct Listed {
    status: ExitStatus,
    output: String,
    errors: String,
}

fn list(loader: &Path, program: &Path) -> Result<Listed, ClosureError> {
    let run = |source| ClosureError::Loader { program: program.into(), loader: loader.into(), source };
    let mut child = Command::new(loader)
        .arg("--list")
        .arg(program)
        // What is preloaded into the processes of this machine is nothing that the program asks for.
        .env_remove("LD_PRELOAD")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(run)?;
    let output = child.stdout.take().map(|pipe| thread::spawn(move || read(pipe)));
    let errors = child.stderr.take().map(|pipe| thread::spawn(move || read(pipe)));
    let status = end_of(&mut child).map_err(run)?;
    // Both pipes have ended with the loader, so both threads end.
    let text = |reader: Option<thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    Ok(Listed { status, output: text(output), errors: text(errors) })
}

fn read(pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is seen by the loader's exit.
    let _ = pipe.take(LIST_BYTES_MAX).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn end_of(child: &mut Child) -> io::Result<ExitStatus> {
    let until = Instant::now() + LIST_TIME_MAX;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it was still busy after {LIST_TIME_MAX:?}"),
            ));
        }
        thread::sleep(LIST_LOOK);
    }
}

/// Reads the list that a loader prints: names and the files that were found for them, or the first name for which
/// there is none.
///
/// What has no path (`linux-vdso.so.1`) is no file.
fn parse(list: &str) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut found = BTreeMap::new();
    for line in list.lines().map(str::trim) {
        let (name, rest) = line.split_once(" => ").unwrap_or(("", line));
        if rest == "not found" {
            return Err(name.to_owned());
        }
        // A path may hold blanks; the address behind it does not.
        let path = rest.rsplit_once(" (0x").map_or(rest, |(path, _)| path);
        if !path.starts_with('/') {
            continue;
        }
        let file_name = |text: &str| text.rsplit('/').next().unwrap_or(text).to_owned();
        let name = if name.is_empty() { file_name(path) } else { file_name(name) };
        found.insert(name, PathBuf::from(path));
    }
    Ok(found)
}

/// The library that a loader misses, out of what it says when it gives up: glibc's words and musl's.
fn missing(message: &str) -> Option<String> {
    let glibc = message.lines().find_map(|line| {
        let (_, rest) = line.split_once("error while loading shared libraries: ")?;
        rest.strip_suffix(": cannot open shared object file: No such file or directory")
    });
    let musl = || {
        message
            .lines()
            .find_map(|line| line.strip_prefix("Error loading shared library ")?.split(": ").next())
    };
    glibc.or_else(musl).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &str) -> Vec<(String, String)> {
        let found = parse(list).unwrap();
        found.into_iter().map(|(name, path)| (name, path.display().to_string())).collect()
    }

    #[test]
    fn a_list_is_read_in_order_of_names() {
        let list = "\tlinux-vdso.so.1 (0x00007fe6e4991000)\n\
                    \tlibtinfo.so.6 => /lib/x86_64-linux-gnu/libtinfo.so.6 (0x00007fe6e480d000)\n\
                    \tlibc.so.6 => /opt/my libs/libc.so.6 (0x00007fe6e462b000)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007fe6e4993000)\n";
        let expected = [
            ("ld-linux-x86-64.so.2", "/lib64/ld-linux-x86-64.so.2"),
            ("libc.so.6", "/opt/my libs/libc.so.6"),
            ("libtinfo.so.6", "/lib/x86_64-linux-gnu/libtinfo.so.6"),
        ];
        assert_eq!(parsed(list), expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
        assert_eq!(parsed("\tstatically linked\n"), []);
    }

    #[test]
    fn a_library_that_is_not_found_is_named() {
        assert_eq!(
            parse("\tlibgone.so.1 => not found\n\tlibc.so.6 => /lib/libc.so.6 (0x1)\n").unwrap_err(),
            "libgone.so.1"
        );
        for said in [
            "/m: error while loading shared libraries: libgone.so.1: cannot open shared object file: No such file or directory",
            "Error loading shared library libgone.so.1: No such file or directory (needed by /m)",
        ] {
            assert_eq!(missing(said).as_deref(), Some("libgone.so.1"));
        }
        assert_eq!(missing("/m: error while loading shared libraries: /m: invalid ELF header"), None);
    }

    #[test]
    fn this_program_has_a_loader_and_libraries() {
        let program = std::env::current_exe().unwrap();
        let closure = of(&program).unwrap();
        let loader = closure.loader.clone().unwrap();
        assert!(loader.is_absolute() && loader.exists(), "{loader:?}");
        let names: Vec<_> = closure.libraries.iter().map(|library| library.name.as_str()).collect();
        assert!(names.contains(&"libc.so.6"), "{names:?}");
        assert!(names.is_sorted(), "{names:?}");
        assert!(closure.libraries.iter().all(|library| library.path.is_absolute() && library.path.exists()));
        assert!(!names.iter().any(|name| loader.ends_with(name)), "the loader is no library: {names:?}");
        assert_eq!(of(&program).unwrap(), closure);
    }

    #[test]
    fn what_is_no_program_is_refused_in_words() {
        let gone = of(Path::new("/nowhere/program")).unwrap_err();
        assert!(gone.to_string().contains("/nowhere/program cannot be read"), "{gone}");
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
        let error = of(&script).unwrap_err();
        assert!(error.to_string().ends_with("script is no executable of Linux"), "{error}");
    }

    /// A copy of this program with another text in the place of `from`, of the same length.
    fn changed(from: &[u8], to: &[u8]) -> (tempfile::TempDir, PathBuf) {
        assert_eq!(from.len(), to.len());
        let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let places: Vec<_> =
            (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at..at + to.len()].copy_from_slice(to);
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        std::fs::write(&path, bytes).unwrap();
        (directory, path)
    }

    #[test]
    fn a_missing_loader_and_a_missing_library_are_named() {
        let loader = of(&std::env::current_exe().unwrap()).unwrap().loader.unwrap();
        let loader = loader.as_os_str().as_bytes();
        let gone = [&loader[..loader.len() - 2], b"!!"].concat();
        let (_directory, program) = changed(loader, &gone);
        let error = of(&program).unwrap_err();
        assert!(matches!(&error, ClosureError::Loader { .. }), "{error}");

        let (_directory, program) = changed(b"libgcc_s.so.1\0", b"libgcc_!.so.1\0");
        let error = of(&program).unwrap_err();
        assert!(error.to_string().contains("needs the library libgcc_!.so.1"), "{error}");
    }
}

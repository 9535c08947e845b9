//! The files that a deployment is made of: content-addressed, with safe paths.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;

/// Most artefacts in one deployment.
pub const ARTEFACTS_MAX: usize = 10_000;
/// Largest artefact, in bytes.
pub const ARTEFACT_BYTES_MAX: u64 = 4 << 30;
/// Bytes that one ranged read answers, if the artefact has so many from there on.
pub const ARTEFACT_READ_BYTES_MAX: usize = 256 << 10;
/// Longest path of an artefact, in bytes.
pub const PATH_BYTES_MAX: usize = 1024;

/// The directory of a deployment's shared libraries ([`Mode::Library`]).
pub const LIBRARIES: &str = "lib";
/// Where the loader of a deployment's program lies, if the program is dynamically linked.
pub const LOADER: &str = "lib/ld.so";

/// Where an artefact lands below a deployment's directory.
///
/// * relative, with `/` between its parts;
/// * no part is empty, `.` or `..`, so no path escapes its directory;
/// * no control characters, no backslash; at most [`PATH_BYTES_MAX`] bytes.
///
/// ```
/// use ftl_core::artefact::ArtefactPath;
/// assert!("bin/greeter".parse::<ArtefactPath>().is_ok());
/// for escape in ["../secret", "/etc/passwd", "a//b", "a/./b", "", "a\\b", "a\0b"] {
///     assert!(escape.parse::<ArtefactPath>().is_err(), "{escape:?}");
/// }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtefactPath(Arc<str>);

impl ArtefactPath {
    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a path or a manifest was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A path could leave its directory or has no portable form.
    #[error("artefact path `{path}` is refused: {rule}")]
    Path {
        /// The path as it was given, shortened.
        path: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Two artefacts would land on one path, or one would be the directory of another.
    #[error("artefact path `{0}` stands twice: every file of a deployment needs a path of its own")]
    Duplicate(String),
    /// More files than a deployment may have.
    #[error("{0} artefacts are too many: a deployment has at most {ARTEFACTS_MAX}")]
    TooMany(usize),
    /// A file larger than the limit.
    #[error("artefact `{path}` has {bytes} bytes: the limit is {ARTEFACT_BYTES_MAX}")]
    TooLarge {
        /// Which artefact.
        path: String,
        /// Its size.
        bytes: u64,
    },
}

impl FromStr for ArtefactPath {
    type Err = ManifestError;
    fn from_str(text: &str) -> Result<Self, ManifestError> {
        let refuse = |rule| Err(ManifestError::Path { path: text.chars().take(100).collect(), rule });
        if text.is_empty() || text.len() > PATH_BYTES_MAX {
            return refuse("it must have 1 to 1024 bytes");
        }
        if text.starts_with('/') {
            return refuse("it must be relative");
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return refuse("it must have no control character and no backslash");
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return refuse("no part may be empty, `.` or `..`");
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ArtefactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ArtefactPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ArtefactPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ArtefactPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What may be done with an artefact once it is on disk. Nothing else of a file's mode travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It is read: `0444`.
    Data,
    /// It is started: `0555`. The first executable of a manifest is the deployment's program.
    Executable,
    /// A shared library of the program, or its loader: `0544`. Where a system is around the Runner, it is not fetched.
    Library,
}

impl Mode {
    /// The permission bits of a file of this mode; nothing may write to an artefact.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::Data => 0o444,
            Self::Executable => 0o555,
            Self::Library => 0o544,
        }
    }
}

/// One file of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Artefact {
    /// Where it lands.
    pub path: ArtefactPath,
    /// What it holds.
    pub digest: Digest,
    /// How many bytes that is.
    pub size: u64,
    /// What may be done with it.
    pub mode: Mode,
}

/// The ordered files of a deployment.
///
/// * no two on one path, and no path is a directory of another;
/// * at most [`ARTEFACTS_MAX`] files of at most [`ARTEFACT_BYTES_MAX`] bytes;
/// * ordered by path, so that equal content has one manifest.
///
/// Identical content at two paths is one digest and travels once; an empty file is a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<Artefact>", into = "Vec<Artefact>")]
pub struct Manifest(Vec<Artefact>);

impl Manifest {
    /// Orders and checks the files.
    ///
    /// # Errors
    /// When two of them collide, or when there are too many or too large ones.
    pub fn new(mut artefacts: Vec<Artefact>) -> Result<Self, ManifestError> {
        if artefacts.len() > ARTEFACTS_MAX {
            return Err(ManifestError::TooMany(artefacts.len()));
        }
        artefacts.sort_by(|a, b| a.path.cmp(&b.path));
        let mut seen = HashSet::new();
        for artefact in &artefacts {
            if artefact.size > ARTEFACT_BYTES_MAX {
                return Err(ManifestError::TooLarge {
                    path: artefact.path.to_string(),
                    bytes: artefact.size,
                });
            }
            if !seen.insert(artefact.path.as_str()) {
                return Err(ManifestError::Duplicate(artefact.path.to_string()));
            }
        }
        let shadowed = artefacts.iter().find_map(|artefact| {
            let path = artefact.path.as_str();
            path.match_indices('/').map(|(at, _)| &path[..at]).find(|directory| seen.contains(directory))
        });
        match shadowed {
            Some(path) => Err(ManifestError::Duplicate(path.to_owned())),
            None => Ok(Self(artefacts)),
        }
    }

    /// The files in order of their paths.
    #[must_use]
    pub fn artefacts(&self) -> &[Artefact] {
        &self.0
    }

    /// The file that is started: the first executable one.
    #[must_use]
    pub fn program(&self) -> Option<&Artefact> {
        self.0.iter().find(|artefact| artefact.mode == Mode::Executable)
    }

    /// Every digest once, in order of first use.
    #[must_use]
    pub fn digests(&self) -> Vec<Digest> {
        let mut seen = HashSet::new();
        self.0.iter().map(|artefact| artefact.digest).filter(|digest| seen.insert(*digest)).collect()
    }
}

impl TryFrom<Vec<Artefact>> for Manifest {
    type Error = ManifestError;
    fn try_from(artefacts: Vec<Artefact>) -> Result<Self, ManifestError> {
        Self::new(artefacts)
    }
}

impl From<Manifest> for Vec<Artefact> {
    fn from(manifest: Manifest) -> Self {
        manifest.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(path: &str, content: &[u8], mode: Mode) -> Artefact {
        Artefact {
            path: path.parse().unwrap(),
            digest: Digest::of(content),
            size: content.len() as u64,
            mode,
        }
    }

    #[test]
    fn identical_files_travel_once_and_keep_their_paths() {
        let manifest = Manifest::new(vec![
            file("b", b"same", Mode::Data),
            file("a", b"same", Mode::Executable),
            file("empty", b"", Mode::Data),
        ])
        .unwrap();
        assert_eq!(manifest.artefacts().len(), 3);
        assert_eq!(manifest.digests().len(), 2);
        assert_eq!(manifest.program().unwrap().path.as_str(), "a");
    }

    #[test]
    fn colliding_paths_are_refused() {
        let twice = Manifest::new(vec![file("a", b"1", Mode::Data), file("a", b"2", Mode::Data)]);
        assert_eq!(twice.unwrap_err(), ManifestError::Duplicate("a".into()));
        let below = Manifest::new(vec![file("a/b/c", b"1", Mode::Data), file("a/b", b"2", Mode::Data)]);
        assert_eq!(below.unwrap_err(), ManifestError::Duplicate("a/b".into()));
        let json = r#"[{"path":"../x","digest":"00","size":0,"mode":"data"}]"#;
        assert!(serde_json::from_str::<Manifest>(json).is_err());
    }

    proptest! {
        #[test]
        fn no_accepted_path_escapes(text in "[a./\\\\]{0,12}") {
            if let Ok(path) = text.parse::<ArtefactPath>() {
                let joined = std::path::Path::new("/base").join(path.as_str());
                prop_assert!(joined.starts_with("/base"));
                prop_assert!(!joined.components().any(|c| matches!(c, std::path::Component::ParentDir)));
            }
        }
    }
}

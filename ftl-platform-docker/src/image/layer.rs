//! The files of an image as one archive that depends on nothing but them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Files by their path, so in one order.
#[derive(Debug, Default)]
pub(super) struct Layer(BTreeMap<PathBuf, Entry>);

/// A file, a directory, or a symbolic link.
#[derive(Debug)]
pub(super) struct Entry {
    mode: u32,
    owner: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Directory,
    File(Vec<u8>),
    Link(PathBuf),
}

impl Entry {
    pub(super) fn file(mode: u32, bytes: Vec<u8>) -> Self {
        Self { mode, owner: 0, content: Content::File(bytes) }
    }

    pub(super) fn directory(mode: u32, owner: u32) -> Self {
        Self { mode, owner, content: Content::Directory }
    }

    pub(super) fn link(to: impl Into<PathBuf>) -> Self {
        Self { mode: 0o777, owner: 0, content: Content::Link(to.into()) }
    }
}

impl Layer {
    /// Adds what lies at an absolute path, and the directories above it. The first that is added there stays.
    pub(super) fn add(&mut self, path: impl AsRef<Path>, entry: Entry) {
        let path = path.as_ref();
        let path = path.strip_prefix("/").unwrap_or(path);
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            self.0.entry(above.into()).or_insert_with(|| Entry::directory(0o755, 0));
        }
        self.0.entry(path.into()).or_insert(entry);
    }

    pub(super) fn to_tar(&self) -> io::Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = header(entry.mode, entry.owner);
            match &entry.content {
                Content::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, path, io::empty())?;
                }
                Content::File(bytes) => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, &bytes[..])?;
                }
                Content::Link(to) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, to)?;
                }
            }
        }
        tar.into_inner()
    }
}

/// The head of a file that says neither when nor on which machine it was made.
pub(crate) fn header(mode: u32, owner: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_uid(u64::from(owner));
    header.set_gid(u64::from(owner));
    header.set_mtime(0);
    header.set_size(0);
    header.set_entry_type(tar::EntryType::Regular);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_what_is_in_them() {
        let mut layer = Layer::default();
        layer.add("/b/c/file", Entry::file(0o644, b"x".to_vec()));
        layer.add("/b", Entry::directory(0o700, 7));
        layer.add("/a", Entry::link("b/c"));
        let tar = layer.to_tar().unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap())
            })
            .collect();
        let expected = [("a", 0o777), ("b", 0o755), ("b/c", 0o755), ("b/c/file", 0o644)];
        assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }
}

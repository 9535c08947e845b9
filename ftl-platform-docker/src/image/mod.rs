//! The runner image: one layer with the runner's program and what it needs of a system, assembled in this process.
//!
//! The same files give the same bytes, and the tag is a digest of them: an image is loaded once for each version, by
//! whoever comes first, and needs no registry and no builder. An image's id is not used: engines disagree about it.

use std::io;
use std::path::{Path, PathBuf};

use ftl_core::Digest;
use ftl_core::digest::Hasher;
use serde_json::{Value, json};

use crate::closure::{self, ClosureError};
use crate::elf::Head;
use crate::marks;

mod host;
mod layer;
mod store;

pub(crate) use host::Host;
pub(crate) use layer::header;
use layer::{Entry, Layer};
pub(crate) use store::{Images, remove_unused, unused};

/// The repository part of every tag.
pub(crate) const REPOSITORY: &str = "ftl-runner";
/// Where the program is in the image.
const PROGRAM: &str = "/ftl";
/// The user and group that the program runs as; no user of a usual system has it.
pub(crate) const USER: u32 = 65_532;
/// The directory of an instance, on a volume that takes owner and mode from the image.
pub(crate) const DIRECTORY: &str = "/var/lib/ftl";
/// When everything in an image was made, so that the same files give the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// An image, ready to be loaded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its name on the engine.
    pub(crate) tag: String,
    /// What `docker load` takes.
    pub(crate) archive: Vec<u8>,
}

/// Why no image can be made of a program.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ImageError {
    #[error("the runner's program {} cannot be read", .0.display())]
    Program(PathBuf, #[source] io::Error),
    #[error("the runner's program {} is no file", .0.display())]
    NoFile(PathBuf),
    #[error("the runner's program {} is not executable", .0.display())]
    NotExecutable(PathBuf),
    #[error("the runner's program cannot be put into an image")]
    Closure(#[source] ClosureError),
    #[error("the runner's program {} runs on a kind of machine for which there are no images", .0.display())]
    Machine(PathBuf),
    #[error("{} cannot be put into the runner's image", .0.display())]
    File(PathBuf, #[source] io::Error),
    #[error("the certificates that `SSL_CERT_FILE` names, {}, cannot be read", .0.display())]
    Certificates(PathBuf, #[source] io::Error),
    #[error("the runner's image cannot be assembled")]
    Assemble(#[source] io::Error),
}

impl Image {
    /// Puts a program, what it needs to run, and what of this machine it may look at into an image.
    pub(crate) fn of(program: &Path, host: &Host) -> Result<Self, ImageError> {
        let bytes = read_program(program)?;
        let closure = closure::of(program).map_err(ImageError::Closure)?;
        let not_elf = |source: object::read::Error| ClosureError::NotElf {
            program: program.into(),
            source: source.into(),
        };
        let head = Head::read(&bytes[..]).map_err(|error| ImageError::Closure(not_elf(error)))?;
        let architecture = head.architecture.ok_or_else(|| ImageError::Machine(program.into()))?;

        let mut layer = Layer::default();
        layer.add(PROGRAM, Entry::file(0o555, head.strip(bytes)));
        add_closure(&mut layer, &closure)?;
        add_system(&mut layer);
        host.add_to(&mut layer)?;
        let layer = layer.to_tar().map_err(ImageError::Assemble)?;
        assemble(&layer, architecture).map_err(ImageError::Assemble)
    }
}

/// Words for what the kernel would answer with a bare ENOENT or EACCES.
fn read_program(program: &Path) -> Result<Vec<u8>, ImageError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = std::fs::metadata(program).map_err(|error| ImageError::Program(program.into(), error))?;
    if !metadata.is_file() {
        return Err(ImageError::NoFile(program.into()));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(ImageError::NotExecutable(program.into()));
    }
    std::fs::read(program).map_err(|error| ImageError::Program(program.into(), error))
}

fn add_closure(layer: &mut Layer, closure: &closure::Closure) -> Result<(), ImageError> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| ImageError::File(path.into(), error));
    if let Some(loader) = &closure.loader {
        layer.add(loader, Entry::file(0o755, read(loader)?));
    }
    // The loader's cache of this machine is not in the image, so what lies in a directory of its own is also to be
    // found in one where the loader always looks: that of the C library.
    let libc = closure.libraries.iter().find(|library| library.name.starts_with("libc.so"));
    let always = libc.and_then(|library| library.path.parent());
    for library in &closure.libraries {
        layer.add(&library.path, Entry::file(0o755, read(&library.path)?));
        if let Some(always) = always.map(|directory| directory.join(&library.name))
            && always != library.path
        {
            layer.add(always, Entry::link(&library.path));
        }
    }
    Ok(())
}

/// The least of a system that programs look for.
fn add_system(layer: &mut Layer) {
    layer.add("/tmp", Entry::directory(0o1777, 0));
    layer.add(DIRECTORY, Entry::directory(0o700, USER));
    let passwd = format!(
        "root:x:0:0:root:/:/sbin/nologin\nftl:x:{USER}:{USER}:FTL runner:{DIRECTORY}:/sbin/nologin\n"
    );
    layer.add("/etc/passwd", Entry::file(0o644, passwd.into_bytes()));
    layer.add("/etc/group", Entry::file(0o644, format!("root:x:0:\nftl:x:{USER}:\n").into_bytes()));
}

/// The archive that `docker load` takes, around one layer.
fn assemble(layer: &[u8], architecture: &str) -> io::Result<Image> {
    let mut config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": CREATED,
        "config": {
            "Entrypoint": [PROGRAM],
            "User": format!("{USER}:{USER}"),
            "WorkingDir": DIRECTORY,
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", Digest::of(layer))] },
        "history": [{ "created": CREATED, "created_by": "ftl" }],
    });
    let mut hasher = Hasher::default();
    hasher.field(config.to_string().as_bytes());
    let hash = hasher.finish().to_string();
    let tag = format!("{REPOSITORY}:{}", &hash[..16]);
    config["config"]["Labels"] = json!({ marks::MANAGED_BY: marks::US, marks::IMAGE_HASH: hash });

    let config = config.to_string().into_bytes();
    let config_name = format!("{}.json", Digest::of(&config));
    let manifest: Value = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"] }]);
    let mut archive = tar::Builder::new(Vec::with_capacity(layer.len() + config.len() + (16 << 10)));
    for (name, bytes) in [
        (config_name.as_str(), &config[..]),
        ("layer.tar", layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ] {
        let mut header = layer::header(0o644, 0);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes)?;
    }
    Ok(Image { tag, archive: archive.into_inner()? })
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Image({}, {} bytes)", self.tag, self.archive.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn files(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive);
        let mut files = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            files.insert(path, bytes);
        }
        files
    }

    #[test]
    fn the_same_files_give_the_same_image() {
        let program = std::env::current_exe().unwrap();
        let host = Host::of_this_machine();
        let image = Image::of(&program, &host).unwrap();
        assert_eq!(Image::of(&program, &host).unwrap(), image);
        assert_eq!(image.tag.len(), "ftl-runner:".len() + 16);

        let outer = files(&image.archive);
        let manifest: Value = serde_json::from_slice(&outer["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], image.tag);
        let config: Value = serde_json::from_slice(&outer[manifest[0]["Config"].as_str().unwrap()]).unwrap();
        let layer = &outer["layer.tar"];
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", Digest::of(layer)));
        let hash = config["config"]["Labels"][marks::IMAGE_HASH].as_str().unwrap();
        assert!(image.tag.ends_with(&hash[..16]));

        let inner = files(layer);
        for path in ["ftl", "etc/passwd", "etc/group", "var/lib/ftl", "tmp"] {
            assert!(inner.contains_key(path), "{path} is missing");
        }
        assert!(inner.keys().any(|path| path.ends_with("/libc.so.6")));
        assert!(inner["ftl"].len() < std::fs::read(&program).unwrap().len());
    }

    #[test]
    fn what_is_no_program_is_refused_in_words() {
        let directory = tempfile::tempdir().unwrap();
        let (path, host) = (directory.path().join("program"), Host::of_this_machine());
        let refused = |path: &Path| Image::of(path, &host).unwrap_err().to_string();
        assert!(refused(&path).ends_with("program cannot be read"), "{}", refused(&path));
        assert!(refused(directory.path()).ends_with("is no file"));
        std::fs::write(&path, "no program").unwrap();
        assert!(refused(&path).ends_with("is not executable"));
    }
}

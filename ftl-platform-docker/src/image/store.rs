//! Which images the engine has: loads the one that is missing, and finds those that nobody needs any more.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::error::Error as _;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bollard::Docker;
use bollard::query_parameters::{
    ImportImageOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptions,
};
use ftl_core::platform::{ErrorKind, PlatformError};
use futures_util::TryStreamExt;
use tracing::info;

use super::{Host, Image, ImageError, REPOSITORY};
use crate::connect::Engine;
use crate::error::Doing;
use crate::marks;

/// How many programs' tags are remembered; a Controller has one or two.
const KNOWN_MAX: usize = 16;

/// The images of this machine's programs.
#[derive(Debug)]
pub(crate) struct Images {
    host: Host,
    /// Tags of programs as they were when looked at. Only spares work: everything can be found out again.
    known: Mutex<BTreeMap<PathBuf, (Stamp, String)>>,
    /// One image is loaded at a time. Another process may load the same one meanwhile; that does no harm.
    loading: tokio::sync::Mutex<()>,
}

/// What changes when a file is written anew.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Images {
    pub(crate) fn new(host: Host) -> Self {
        Self { host, known: Mutex::default(), loading: tokio::sync::Mutex::default() }
    }

    /// The tag of the image of a program; whether the engine has it is another question.
    pub(crate) async fn tag(&self, program: &Path) -> Result<String, PlatformError> {
        match self.known(program) {
            Some(tag) => Ok(tag),
            None => Ok(self.assemble(program).await?.tag),
        }
    }

    /// Sees to it that the engine has the image of a program, and says its tag.
    pub(crate) async fn ensure(&self, engine: &Engine, program: &Path) -> Result<String, PlatformError> {
        let _one_at_a_time = self.loading.lock().await;
        if let Some(tag) = self.known(program)
            && is_there(engine, &tag).await?
        {
            return Ok(tag);
        }
        let image = self.assemble(program).await?;
        if !is_there(engine, &image.tag).await? {
            load(engine, &image).await?;
        }
        Ok(image.tag)
    }

    /// A program whose image was asked for before.
    pub(crate) fn any_program(&self) -> Option<PathBuf> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys().next().cloned()
    }

    fn known(&self, program: &Path) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (stamp, tag) = known.get(program)?;
        (Stamp::of(program).as_ref() == Some(stamp)).then(|| tag.clone())
    }

    async fn assemble(&self, program: &Path) -> Result<Image, PlatformError> {
        // Before the file is read: one that is written meanwhile then has another stamp.
        let stamp = Stamp::of(program);
        let (path, host) = (program.to_owned(), self.host.clone());
        let assembled = tokio::task::spawn_blocking(move || Image::of(&path, &host)).await;
        let image = assembled
            .map_err(|error| {
                PlatformError::new(ErrorKind::Internal, "the runner's image was not assembled")
                    .with_source(error)
            })?
            .map_err(|error| in_words(&error))?;
        if let Some(stamp) = stamp {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(program.to_owned(), (stamp, image.tag.clone()));
        }
        Ok(image)
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// The reasons of an error that is ours, in one sentence.
fn in_words(error: &ImageError) -> PlatformError {
    let missing =
        matches!(error, ImageError::Program(_, source) if source.kind() == std::io::ErrorKind::NotFound);
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    PlatformError::new(if missing { ErrorKind::Missing } else { ErrorKind::Invalid }, message)
}

async fn is_there(engine: &Engine, tag: &str) -> Result<bool, PlatformError> {
    let what = format!("look for the image {tag}");
    match engine.read(&what, |client: Docker| async move { client.inspect_image(tag).await }).await {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

async fn load(engine: &Engine, image: &Image) -> Result<(), PlatformError> {
    info!(tag = image.tag, bytes = image.archive.len(), "loading the runner's image");
    let what = format!("load the runner's image {}", image.tag);
    let load = |client: Docker| {
        let body = bollard::body_full(image.archive.clone().into());
        async move {
            client
                .import_image(ImportImageOptions::default(), body, None)
                .try_for_each(|_| async { Ok(()) })
                .await
        }
    };
    engine.call(&what, Doing::Changing, engine.timings.load, load).await?;
    if is_there(engine, &image.tag).await? {
        return Ok(());
    }
    let message = format!("docker took the runner's image, but does not have {}", image.tag);
    Err(PlatformError::new(ErrorKind::Internal, message))
}

/// Tags of ours that no container uses.
pub(crate) async fn unused(engine: &Engine) -> Result<Vec<String>, PlatformError> {
    let mut filters: HashMap<&str, Vec<String>> = marks::all();
    filters.insert("reference", vec![REPOSITORY.to_owned()]);
    let images = ListImagesOptionsBuilder::new().filters(&filters).build();
    let images = engine
        .read("list images", |client: Docker| {
            let options = Some(images.clone());
            async move { client.list_images(options).await }
        })
        .await?;
    let containers = engine
        .read("list containers", |client: Docker| async move {
            client.list_containers(Some(ListContainersOptionsBuilder::new().all(true).build())).await
        })
        .await?;
    let used: BTreeSet<String> = containers
        .into_iter()
        .flat_map(|container| [container.image_id, container.image])
        .flatten()
        .collect();
    let free = images.into_iter().filter(|image| !used.contains(&image.id));
    let prefix = format!("{REPOSITORY}:");
    let tags = free.flat_map(|image| image.repo_tags).filter(|tag| tag.starts_with(&prefix));
    Ok(tags.filter(|tag| !used.contains(tag)).collect())
}

/// Removes tags of ours that no container uses, and says which.
pub(crate) async fn remove_unused(engine: &Engine) -> Result<Vec<String>, PlatformError> {
    let mut removed = Vec::new();
    for tag in unused(engine).await? {
        let what = format!("remove the image {tag}");
        let name = &tag;
        let remove =
            |client: Docker| async move { client.remove_image(name, None::<RemoveImageOptions>, None).await };
        match engine.change(&what, remove).await {
            Ok(_) => removed.push(tag),
            // Somebody began to use it, or was quicker.
            Err(error) if matches!(error.kind, ErrorKind::Conflict | ErrorKind::Missing) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

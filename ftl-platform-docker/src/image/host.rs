//! What of this machine goes into the runner image, so that user code finds in a container what it finds here:
//! certificates, time zones, the local time.

use std::fs;
use std::path::{Component, Path, PathBuf};

use tracing::warn;

use super::ImageError;
use super::layer::{Entry, Layer};

/// Names a file of certificates that replaces the system's, as everywhere.
const CERTIFICATES_VARIABLE: &str = "SSL_CERT_FILE";
/// Where systems keep the certificates that they trust: Debian, Fedora, openSUSE, Alpine.
const CERTIFICATES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Where programs in the image look for them.
const CERTIFICATES_IN_IMAGE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Where systems keep their time zones, here and in the image.
const ZONES: &str = "/usr/share/zoneinfo";
/// The same zones once more, which nobody asks for.
const ZONES_TWICE: [&str; 2] = ["posix", "right"];
/// The local time, here and in the image.
const LOCAL_TIME: &str = "/etc/localtime";

/// Where this machine keeps what goes into the image.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// Certificates that somebody asked for; they must be there.
    asked_certificates: Option<PathBuf>,
    certificates: Vec<PathBuf>,
    zones: PathBuf,
    local_time: PathBuf,
}

impl Host {
    pub(crate) fn of_this_machine() -> Self {
        Self {
            asked_certificates: std::env::var_os(CERTIFICATES_VARIABLE)
                .filter(|path| !path.is_empty())
                .map(PathBuf::from),
            certificates: CERTIFICATES.map(PathBuf::from).to_vec(),
            zones: ZONES.into(),
            local_time: LOCAL_TIME.into(),
        }
    }

    pub(super) fn add_to(&self, layer: &mut Layer) -> Result<(), ImageError> {
        match self.certificates()? {
            Some(bytes) => layer.add(CERTIFICATES_IN_IMAGE, Entry::file(0o644, bytes)),
            None => {
                warn!("this machine has no certificates to trust: programs in containers will trust nobody")
            }
        }
        if self.zones.is_dir() {
            add_zones(layer, &self.zones, Path::new(ZONES))?;
        }
        if let Some(zone) = self.local_zone() {
            layer.add(LOCAL_TIME, Entry::link(Path::new(ZONES).join(zone)));
        } else if let Ok(bytes) = fs::read(&self.local_time) {
            layer.add(LOCAL_TIME, Entry::file(0o644, bytes));
        }
        Ok(())
    }

    /// The zone that the local time is a link to. Only where the link leads tells the name of the zone, so it stays one.
    fn local_zone(&self) -> Option<PathBuf> {
        let mut target = self.local_time.parent()?.to_owned();
        for part in fs::read_link(&self.local_time).ok()?.components() {
            match part {
                Component::ParentDir => _ = target.pop(),
                part => target.push(part),
            }
        }
        let zone = target.strip_prefix(&self.zones).ok()?;
        let in_image = target.is_file() && !ZONES_TWICE.iter().any(|twice| zone.starts_with(twice));
        in_image.then(|| zone.to_owned())
    }

    fn certificates(&self) -> Result<Option<Vec<u8>>, ImageError> {
        match &self.asked_certificates {
            Some(path) => {
                let read = fs::read(path).map_err(|error| ImageError::Certificates(path.clone(), error));
                read.map(Some)
            }
            None => Ok(self.certificates.iter().find_map(|path| fs::read(path).ok())),
        }
    }
}

/// Adds a directory of time zones and those below it; links stay links.
fn add_zones(layer: &mut Layer, from: &Path, to: &Path) -> Result<(), ImageError> {
    let failed = |error| ImageError::File(from.into(), error);
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, to, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type().map_err(failed)?);
        if kind.is_dir() {
            if !ZONES_TWICE.iter().any(|twice| entry.file_name() == *twice) {
                add_zones(layer, &path, &to)?;
            }
            continue;
        }
        match fs::read_link(&path) {
            Ok(link) if link.is_relative() => layer.add(to, Entry::link(link)),
            // A link that leads nowhere, as some packages leave them, is not missed.
            _ => {
                if let Ok(bytes) = fs::read(&path) {
                    layer.add(to, Entry::file(0o644, bytes));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(directory: &Path) -> Host {
        Host {
            asked_certificates: None,
            certificates: vec![directory.join("none"), directory.join("bundle")],
            zones: directory.join("zones"),
            local_time: directory.join("localtime"),
        }
    }

    fn paths(host: &Host) -> Vec<String> {
        let mut layer = Layer::default();
        host.add_to(&mut layer).unwrap();
        let tar = layer.to_tar().unwrap();
        let mut archive = tar::Archive::new(&tar[..]);
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let files = entries.filter(|entry| !entry.header().entry_type().is_dir());
        files.map(|entry| entry.path().unwrap().display().to_string()).collect()
    }

    #[test]
    fn what_is_there_goes_into_the_image() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path());
        assert_eq!(paths(&host), Vec::<String>::new());
        fs::write(directory.path().join("bundle"), "certificates").unwrap();
        fs::write(directory.path().join("localtime"), "TZif").unwrap();
        fs::create_dir_all(directory.path().join("zones/Europe")).unwrap();
        fs::create_dir_all(directory.path().join("zones/right/Europe")).unwrap();
        fs::write(directory.path().join("zones/right/Europe/Vienna"), "TZif").unwrap();
        fs::write(directory.path().join("zones/Europe/Vienna"), "TZif").unwrap();
        std::os::unix::fs::symlink("Europe/Vienna", directory.path().join("zones/Alias")).unwrap();
        assert_eq!(
            paths(&host),
            [
                "etc/localtime",
                "etc/ssl/certs/ca-certificates.crt",
                "usr/share/zoneinfo/Alias",
                "usr/share/zoneinfo/Europe/Vienna"
            ]
        );
    }

    #[test]
    fn the_local_time_keeps_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let host = host(directory.path());
        fs::create_dir_all(directory.path().join("zones/Europe")).unwrap();
        fs::write(directory.path().join("zones/Europe/Vienna"), "TZif").unwrap();
        let name = directory.path().file_name().unwrap().to_owned();
        let absolute = directory.path().join("zones/Europe/Vienna");
        for (to, zone) in [
            (absolute.as_path(), Some("Europe/Vienna")),
            (&Path::new("..").join(&name).join("zones/Europe/Vienna"), Some("Europe/Vienna")),
            (Path::new("zones/Europe/Graz"), None),
            (Path::new("bundle"), None),
        ] {
            std::os::unix::fs::symlink(to, &host.local_time).unwrap();
            assert_eq!(host.local_zone(), zone.map(PathBuf::from), "{to:?}");
            fs::remove_file(&host.local_time).unwrap();
        }
        assert_eq!(host.local_zone(), None, "and a file has none");
    }

    #[test]
    fn certificates_that_were_asked_for_must_be_there() {
        let directory = tempfile::tempdir().unwrap();
        let mut host = host(directory.path());
        host.asked_certificates = Some(directory.path().join("mine"));
        let error = host.certificates().unwrap_err();
        assert!(error.to_string().contains("`SSL_CERT_FILE`"), "{error}");
        fs::write(directory.path().join("mine"), "mine").unwrap();
        assert_eq!(host.certificates().unwrap().unwrap(), b"mine");
    }
}

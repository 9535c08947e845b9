//! The one place where what the driver says becomes what the contract says: which class, and whether it may have taken
//! effect.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use bollard::errors::Error;
use ftl_core::platform::{ErrorKind, PlatformError};

/// After this it is worth asking again an engine that could not be reached.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// After this it is worth asking again an engine that has no room.
const RETRY_FULL_AFTER: Duration = Duration::from_secs(10);

/// Whether a request only reads, or changes something on the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It never has an effect.
    Reading,
    /// Once it was sent it may have one, even if its answer never comes: a frozen engine carries it out later.
    Changing,
}

/// What went wrong with a request: `what` completes "docker cannot …".
pub(crate) fn refused(what: &str, doing: Doing, error: Error) -> PlatformError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            answered(what, doing, status_code, &message)
        }
        Error::DockerStreamError { error } => answered(what, doing, 500, &error),
        Error::RequestTimeoutError => timed_out(what, doing, None),
        error => transport(what, doing, error),
    }
}

/// No answer came in time.
pub(crate) fn timed_out(what: &str, doing: Doing, after: Option<Duration>) -> PlatformError {
    let after = after.map(|after| format!(" within {after:?}")).unwrap_or_default();
    let message = format!("docker cannot {what}: the engine did not answer{after}");
    let error = PlatformError::new(ErrorKind::Timeout, message)
        .with_hint("is the engine overloaded or frozen? try `docker version`");
    affected(error, doing)
}

/// Whether the engine did not answer at all: then nothing is known, and nothing else is worth asking.
pub(crate) fn is_unanswered(error: &PlatformError) -> bool {
    error.kind == ErrorKind::Timeout || error.source.is_some()
}

/// What the engine answered.
fn answered(what: &str, doing: Doing, status: u16, said: &str) -> PlatformError {
    let said = said.trim();
    let message = if said.is_empty() {
        format!("docker cannot {what}: it answered with status {status}")
    } else {
        format!("docker cannot {what}: {said}")
    };
    if let Some(hint) = exhausted(said) {
        let mut error = PlatformError::new(ErrorKind::Exhausted, message).with_hint(hint);
        error.retry_after = Some(RETRY_FULL_AFTER);
        return affected(error, doing);
    }
    match status {
        400 | 406 | 422 => PlatformError::new(ErrorKind::Invalid, message),
        401 | 403 => PlatformError::new(ErrorKind::Denied, message),
        404 => PlatformError::new(ErrorKind::Missing, message),
        409 => PlatformError::new(ErrorKind::Conflict, message),
        // The engine's own trouble: what it had done before that is not known.
        _ => {
            let mut error = PlatformError::new(ErrorKind::Unavailable, message);
            error.retry_after = Some(RETRY_AFTER);
            affected(error, doing)
        }
    }
}

/// What to do when the engine has no room for more.
fn exhausted(said: &str) -> Option<&'static str> {
    let said = said.to_ascii_lowercase();
    if said.contains("no space left on device") || said.contains("disk quota exceeded") {
        Some("the engine's disk is full: make room, for example with `docker system prune`")
    } else if said.contains("address pools have been fully subscribed")
        || said.contains("non-overlapping ipv4")
    {
        Some("the engine has no address range left: remove networks that nobody uses, `docker network prune`")
    } else {
        None
    }
}

/// The engine was not reached, or the connection to it broke.
fn transport(what: &str, doing: Doing, error: Error) -> PlatformError {
    let before_sending = match &error {
        Error::SocketNotFoundError(_) => true,
        Error::HyperLegacyError { err } => err.is_connect(),
        _ => false,
    };
    let message = if before_sending {
        format!("docker cannot {what}: the engine cannot be reached")
    } else {
        format!("docker cannot {what}: the connection to the engine broke, or what it said is not understood")
    };
    let denied = io_kind(&error) == Some(io::ErrorKind::PermissionDenied);
    let kind = if denied { ErrorKind::Denied } else { ErrorKind::Unavailable };
    let mut refused = PlatformError::new(kind, message).with_source(error);
    refused.retry_after = Some(RETRY_AFTER);
    if before_sending { refused } else { affected(refused, doing) }
}

fn affected(error: PlatformError, doing: Doing) -> PlatformError {
    match doing {
        Doing::Reading => error,
        Doing::Changing => error.with_unknown_effect(),
    }
}

/// The system's own reason somewhere below an error.
fn io_kind(error: &Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Some(error.kind());
        }
        source = error.source();
    }
    None
}

/// Why nobody can be spoken to at this socket, in words.
pub(crate) fn unreachable(socket: &Path, origin: &str, error: io::Error) -> PlatformError {
    let place = format!("{} ({origin})", socket.display());
    let (kind, message, hint) = match error.kind() {
        io::ErrorKind::NotFound => (
            ErrorKind::Unavailable,
            format!("no docker engine: there is no socket {place}"),
            "start the engine, or say where it is with `DOCKER_HOST`".to_owned(),
        ),
        io::ErrorKind::PermissionDenied => (
            ErrorKind::Denied,
            format!("no permission to use the docker engine at {place}"),
            permission_hint(socket),
        ),
        io::ErrorKind::ConnectionRefused => (
            ErrorKind::Unavailable,
            format!("no docker engine listens at {place}: it has ended and left its socket"),
            "start the engine, `systemctl start docker`".to_owned(),
        ),
        _ => (
            ErrorKind::Unavailable,
            format!("the docker engine at {place} cannot be reached"),
            "look whether it runs, `docker version`".to_owned(),
        ),
    };
    let mut refused = PlatformError::new(kind, message).with_hint(hint).with_source(error);
    refused.retry_after = Some(RETRY_AFTER);
    refused
}

/// How somebody gets permission: names the group that owns the socket.
fn permission_hint(socket: &Path) -> String {
    use std::os::unix::fs::MetadataExt;
    let group = std::fs::metadata(socket).ok().map(|metadata| metadata.gid());
    match group.map(|gid| group_name(&std::fs::read_to_string("/etc/group").unwrap_or_default(), gid)) {
        Some(group) => {
            format!(
                "add yourself to the group `{group}` that owns it (`usermod -aG {group} $USER`) and log in again"
            )
        }
        None => "its directory may not be looked into by you: ask who runs the engine".to_owned(),
    }
}

fn group_name(groups: &str, gid: u32) -> String {
    let entry = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let mut found = entry.filter(|entry| entry.get(2).and_then(|id| id.parse().ok()) == Some(gid));
    found.find_map(|entry| entry.first().map(|&name| name.to_owned())).unwrap_or_else(|| gid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ftl_core::platform::Effect::{None, Unknown};

    fn server(status_code: u16, message: &str) -> Error {
        Error::DockerResponseServerError { status_code, message: message.to_owned() }
    }

    #[test]
    fn what_the_engine_says_becomes_a_class_and_an_effect() {
        for (status, said, kind, effect) in [
            (400, "bad parameter", ErrorKind::Invalid, None),
            (403, "not allowed", ErrorKind::Denied, None),
            (404, "No such image: x", ErrorKind::Missing, None),
            (409, "name in use", ErrorKind::Conflict, None),
            (500, "write /x: no space left on device", ErrorKind::Exhausted, Unknown),
            (500, "something broke", ErrorKind::Unavailable, Unknown),
            (503, "", ErrorKind::Unavailable, Unknown),
        ] {
            let error = refused("create it", Doing::Changing, server(status, said));
            assert_eq!((error.kind, error.effect), (kind, effect), "{status} {said}");
            assert!(error.to_string().starts_with("docker cannot create it: "), "{error}");
            assert_eq!(refused("look", Doing::Reading, server(status, said)).effect, None);
        }
    }

    #[test]
    fn an_answer_that_never_came_may_have_taken_effect() {
        let error = refused("create it", Doing::Changing, Error::RequestTimeoutError);
        assert_eq!((error.kind, error.effect), (ErrorKind::Timeout, Unknown));
        let cut = Error::IOError { err: io::ErrorKind::UnexpectedEof.into() };
        let error = refused("create it", Doing::Changing, cut);
        assert_eq!((error.kind, error.effect), (ErrorKind::Unavailable, Unknown));
        assert!(error.source.is_some());
        let never_sent = Error::SocketNotFoundError("/x".into());
        assert_eq!(refused("create it", Doing::Changing, never_sent).effect, None);
    }

    #[test]
    fn why_nobody_answers_is_told_apart() {
        let socket = Path::new("/dev/null");
        let say = |kind: io::ErrorKind| unreachable(socket, "`DOCKER_HOST`", kind.into());
        assert!(
            say(io::ErrorKind::NotFound).message.contains("there is no socket /dev/null (`DOCKER_HOST`)")
        );
        assert!(say(io::ErrorKind::ConnectionRefused).message.contains("has ended and left its socket"));
        let denied = say(io::ErrorKind::PermissionDenied);
        assert_eq!(denied.kind, ErrorKind::Denied);
        assert!(denied.hint.unwrap().contains("the group `root`"), "the group of /dev/null");
    }

    #[test]
    fn a_group_is_named_or_else_numbered() {
        let groups = "root:x:0:\ndocker:x:105:ada,bob\n";
        assert_eq!(group_name(groups, 105), "docker");
        assert_eq!(group_name(groups, 7), "7");
    }
}

//! What the user sees when a command fails: one sentence, its causes, what to do, and an exit code.

use std::error::Error;
use std::fmt;

use ftl_core::name::VerbRef;
use ftl_core::{Code, ControllerError, Failure, Fate};
use serde_json::{Value, json};

use crate::exit::Exit;

/// A failed command.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    code: &'static str,
    message: String,
    hint: Option<String>,
    verb: Option<VerbRef>,
    request: Option<String>,
    retryable: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
    /// What to print on standard output all the same: the error that a verb returned.
    pub(crate) data: Option<String>,
}

/// Nobody reads what the command prints.
const UNREAD: &str = "unread";

impl CliError {
    pub(crate) fn new(exit: Exit, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            exit,
            code,
            message,
            hint: None,
            verb: None,
            request: None,
            retryable: false,
            source: None,
            data: None,
        }
    }

    /// Something failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, "failed", message)
    }

    /// Whoever read what the command prints has enough: it ends, and there is nothing to tell.
    pub(crate) fn unread() -> Self {
        Self::new(Exit::Ok, UNREAD, "nobody reads what is printed")
    }

    pub(crate) fn is_unread(&self) -> bool {
        self.code == UNREAD
    }

    /// Somebody pressed ^C, or asked the command to end otherwise.
    pub(crate) fn interrupted(hint: impl Into<String>) -> Self {
        Self::new(Exit::Interrupted, "interrupted", "interrupted").hint(hint)
    }

    /// The command makes no sense as it was given.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message)
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(crate) fn of_verb(mut self, verb: &VerbRef) -> Self {
        self.verb.get_or_insert_with(|| verb.clone());
        self
    }

    /// The error that a verb returned.
    pub(crate) fn verb_error(verb: &VerbRef, data: String) -> Self {
        let mut error =
            Self::new(Exit::VerbError, "verb_error", format!("`{verb}` returned its error")).of_verb(verb);
        error.data = Some(data);
        error
    }

    /// The causes, outermost first.
    fn causes(&self) -> Vec<String> {
        let mut causes = Vec::new();
        let mut next = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// The object that scripts read.
    pub(crate) fn to_json(&self) -> Value {
        let message =
            std::iter::once(self.message.clone()).chain(self.causes()).collect::<Vec<_>>().join(": ");
        json!({
            "code": self.code,
            "message": message,
            "hint": self.hint,
            "verb": self.verb.as_ref().map(ToString::to_string),
            "request": self.request,
            "retryable": self.retryable,
        })
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        for cause in self.causes() {
            write!(f, "\n  caused by: {cause}")?;
        }
        if let Some(request) = &self.request {
            write!(f, "\n  request: {request}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  help: {hint}")?;
        }
        Ok(())
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        let unreachable = failure.code == Code::Unavailable && failure.origin.as_deref() == Some("client");
        let exit = if unreachable { Exit::Unreachable } else { Exit::of(failure.code) };
        let mut error = Self::new(exit, failure.code.name(), failure.message.clone());
        if unreachable {
            error.hint = Some(
                "start one with `ftl dev PATH` or `ftl serve`, or name one with --controller URL".into(),
            );
        }
        if let Some(origin) = failure.origin.as_deref().filter(|_| !unreachable) {
            error.message = format!("{} (said by {origin})", error.message);
        }
        if failure.fate == Fate::MayHaveRun && failure.verb.is_some() {
            error.hint.get_or_insert_with(|| "the verb may have run: look before you call it again".into());
        }
        error.retryable = failure.may_retry(false);
        error.request = failure.request.as_ref().map(ToString::to_string).filter(|_| failure.verb.is_some());
        error.verb = failure.verb;
        error
    }
}

impl From<ControllerError> for CliError {
    fn from(error: ControllerError) -> Self {
        let (exit, code) = match &error {
            ControllerError::Failed(failure) => return failure.clone().into(),
            ControllerError::Denied(_) => (Exit::Denied, "permission_denied"),
            ControllerError::Incompatible(_) => (Exit::Incompatible, "incompatible"),
            ControllerError::Unauthenticated(_) => (Exit::Denied, "unauthenticated"),
            ControllerError::NotFound { .. } => (Exit::Failed, "not_found"),
            ControllerError::Invalid { .. } => (Exit::Failed, "invalid_argument"),
            ControllerError::Corrupt { .. } | ControllerError::Truncated { .. } => {
                (Exit::Failed, "data_loss")
            }
            _ => (Exit::Failed, "failed"),
        };
        let hint = matches!(error, ControllerError::Unauthenticated(_)).then(|| {
            "the token of a Controller is in the file `token` of its data directory: name it with --token-file".to_owned()
        });
        Self { hint, ..Self::new(exit, code, error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_cause_and_remedy() {
        let cause = std::io::Error::other("disk on fire");
        let error = CliError::failed("cannot write").because(cause).hint("put it out");
        assert_eq!(error.to_string(), "error: cannot write\n  caused by: disk on fire\n  help: put it out");
        assert_eq!(error.to_json()["message"], "cannot write: disk on fire");
    }

    #[test]
    fn a_failure_keeps_what_it_knows() {
        let verb: VerbRef = "clock.now".parse().unwrap();
        let failure =
            Failure::new(Code::Unavailable, "connection lost").of_call(&verb, &"r1".parse().unwrap());
        let error = CliError::from(failure);
        assert_eq!((error.exit, error.to_json()["verb"].clone()), (Exit::Failed, json!("clock.now")));
        assert_eq!(error.to_json()["retryable"], json!(false), "it may have run");
        assert!(error.to_string().contains("request: r1"));
    }
}

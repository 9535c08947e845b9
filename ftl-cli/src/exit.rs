//! The exit codes of every command, in one table.

use ftl_core::failure::Code;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// Nothing failed, but not everything could be proven.
    NotProven = 3,
    /// No Controller could be reached.
    Unreachable = 4,
    /// Not allowed.
    Denied = 5,
    /// The verb ran and returned its error.
    VerbError = 6,
    /// The two sides have versions that do not fit.
    Incompatible = 7,
    /// It was asked in a way that makes no sense.
    Usage = 64,
    /// It took too long.
    Timeout = 124,
    /// Somebody pressed ^C.
    Interrupted = 130,
}

impl Exit {
    /// The code for a call that failed with this.
    pub(crate) fn of(code: Code) -> Self {
        match code {
            Code::DeadlineExceeded => Self::Timeout,
            Code::PermissionDenied | Code::Unauthenticated => Self::Denied,
            _ => Self::Failed,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_as_documented() {
        let table = [
            (Exit::Ok, 0),
            (Exit::Failed, 1),
            (Exit::NotProven, 3),
            (Exit::Unreachable, 4),
            (Exit::Denied, 5),
            (Exit::VerbError, 6),
            (Exit::Incompatible, 7),
            (Exit::Usage, 64),
            (Exit::Timeout, 124),
            (Exit::Interrupted, 130),
        ];
        assert!(table.into_iter().all(|(exit, code)| exit as u8 == code));
        assert_eq!(Exit::of(Code::Unauthenticated), Exit::Denied);
        assert_eq!(Exit::of(Code::DeadlineExceeded), Exit::Timeout);
    }
}

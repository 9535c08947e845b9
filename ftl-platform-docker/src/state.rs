//! What a container's state says of its instance.

use bollard::models::{ContainerState, ContainerStateStatusEnum as Status};
use ftl_core::platform::{Exit, InstanceState};

/// A program that a signal ended has, for Docker, this exit code plus the signal's number.
const SIGNAL_BASE: i64 = 128;
/// The highest signal of Linux.
const SIGNAL_MAX: i64 = 64;
/// What a process is killed with whose memory ran out: 128 + SIGKILL.
const KILLED: i64 = 137;
/// When a container was started that never was.
const NEVER: &str = "0001-01-01";

/// What an instance is doing, `asked` being whether it was asked to end.
pub(crate) fn of(state: &ContainerState, asked: bool) -> InstanceState {
    match state.status {
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING) if asked => InstanceState::Stopping,
        Some(Status::RUNNING | Status::PAUSED | Status::RESTARTING) => InstanceState::Running,
        Some(Status::STOPPING) => InstanceState::Stopping,
        Some(Status::CREATED) => match said(state) {
            // Its start failed: the engine keeps the reason and leaves the container as it was.
            Some(message) => never_started(Some(message), asked),
            None if asked => never_started(None, true),
            None => InstanceState::Pending,
        },
        Some(Status::EXITED | Status::DEAD | Status::REMOVING) => {
            if state.started_at.as_deref().is_none_or(|at| at.starts_with(NEVER)) {
                return never_started(said(state), asked);
            }
            InstanceState::Ended(exit(state, asked))
        }
        Some(Status::EMPTY) | None => InstanceState::Unknown {
            why: "the docker engine does not say what the container is doing".to_owned(),
        },
    }
}

fn never_started(message: Option<String>, asked: bool) -> InstanceState {
    let mut exit = Exit::new(asked);
    exit.never_started = true;
    exit.message = message;
    InstanceState::Ended(exit)
}

/// How a container ended.
///
/// Docker tells `128 + n` both for an exit with that code and for an end by signal `n`. It is taken for the signal here;
/// whoever can ask the container's init process knows better ([`with_code`]). Docker's mark for memory that ran out is also set when a child was
/// killed for it and the program went on; only together with the kill it is the program's own end.
fn exit(state: &ContainerState, asked: bool) -> Exit {
    let mut exit = Exit::new(asked);
    let code = state.exit_code;
    exit.signal = code
        .map(|code| code - SIGNAL_BASE)
        .filter(|signal| (1..=SIGNAL_MAX).contains(signal))
        .and_then(|signal| i32::try_from(signal).ok());
    if exit.signal.is_none() {
        exit.code = code.and_then(|code| i32::try_from(code).ok());
    }
    exit.oom = state.oom_killed.map(|marked| marked && code == Some(KILLED));
    exit.message = said(state);
    if exit.message.is_none() && state.oom_killed == Some(true) && code != Some(KILLED) && code != Some(0) {
        let code = code.unwrap_or_default();
        exit.message = Some(format!(
            "exited with code {code} after one of its processes was killed: its memory ran out"
        ));
    }
    exit
}

/// The same end, which was an exit with a code.
pub(crate) fn with_code(mut exit: Exit, code: i32) -> Exit {
    (exit.code, exit.signal) = (Some(code), None);
    exit
}

fn said(state: &ContainerState) -> Option<String> {
    state.error.clone().filter(|error| !error.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: Status) -> ContainerState {
        let started = Some("2026-01-01T00:00:00Z".into());
        ContainerState {
            status: Some(status),
            started_at: started,
            oom_killed: Some(false),
            ..Default::default()
        }
    }

    fn ended(code: i64, oom: bool) -> Exit {
        let state = ContainerState { exit_code: Some(code), oom_killed: Some(oom), ..state(Status::EXITED) };
        match of(&state, false) {
            InstanceState::Ended(exit) => exit,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn exits_are_told_as_docker_means_them() {
        for code in [0, 1, 125, 128, 193, 255] {
            let exit = ended(code.into(), false);
            assert_eq!((exit.code, exit.signal, exit.oom), (Some(code), None, Some(false)), "{code}");
        }
        let ended_143 = ended(143, false);
        assert_eq!((ended_143.code, ended_143.signal), (None, Some(15)));
        assert_eq!(
            (with_code(ended_143.clone(), 143).code, with_code(ended_143, 143).signal),
            (Some(143), None)
        );
        let killed = ended(137, true);
        assert_eq!((killed.signal, killed.oom), (Some(9), Some(true)));
        assert_eq!(killed.to_string(), "killed: its memory ran out");
        let child = ended(101, true);
        assert_eq!(child.oom, Some(false));
        assert!(child.to_string().contains("code 101 after one of its processes was killed"), "{child}");
        assert_eq!(ended(0, true).message, None);
    }

    #[test]
    fn what_never_ran_says_why() {
        let mut failed = state(Status::CREATED);
        failed.error = Some("no such thing".into());
        let InstanceState::Ended(exit) = of(&failed, false) else { panic!() };
        assert!(exit.never_started && !exit.asked);
        assert_eq!(exit.to_string(), "no such thing");

        let InstanceState::Ended(exit) = of(&state(Status::CREATED), true) else { panic!() };
        assert!(exit.never_started && exit.asked);
        assert_eq!(of(&state(Status::CREATED), false), InstanceState::Pending);

        let mut removed = state(Status::EXITED);
        removed.started_at = Some("0001-01-01T00:00:00Z".into());
        assert!(matches!(of(&removed, false), InstanceState::Ended(exit) if exit.never_started));
    }

    #[test]
    fn what_runs_is_ending_once_it_was_asked() {
        assert_eq!(of(&state(Status::RUNNING), false), InstanceState::Running);
        assert_eq!(of(&state(Status::RUNNING), true), InstanceState::Stopping);
        assert!(matches!(of(&ContainerState::default(), false), InstanceState::Unknown { .. }));
    }
}

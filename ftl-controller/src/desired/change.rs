//! A change: what is asked for in one command, and where it stands.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ftl_core::ControllerError;
use ftl_core::controller::{self, ChangeSpec, REPLICAS_MAX};
use ftl_core::digest::{Digest, Hasher};
use ftl_core::key::ChangeId;
use ftl_core::name::{ChangeRequest, ModuleName};

use super::{Target, Want};
use crate::time::Time;

/// The longest deadline that may be asked for: a day.
pub const DEADLINE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A change that was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its identity.
    pub id: ChangeId,
    /// What its modules shall be; they switch together.
    pub wanted: BTreeMap<ModuleName, Want>,
    /// Where it stands.
    pub state: ChangeState,
    /// When it fails, if it has not committed.
    pub deadline: Time,
    /// When it was asked for.
    pub created_at: Time,
    /// What its modules were before its commit; empty until then, and without those that were nothing.
    pub prev: BTreeMap<ModuleName, Want>,
    /// Which commit of all it was.
    pub commit: Option<u64>,
}

/// Where a change stands. The last two are final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeState {
    /// Its replicas are being started; the old version serves.
    Rolling,
    /// It serves.
    Committed,
    /// It was given up; the old version serves.
    Failed(Reason),
}

/// Why a change was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It took too long.
    Deadline,
    /// One of its replicas was replaced again and again.
    CrashLoop,
    /// A newer change wants one of its modules.
    Superseded,
    /// A platform said that it will never create one of its replicas, in these words.
    Refused(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deadline => "deadline",
            Self::CrashLoop => "crash loop",
            Self::Superseded => "superseded",
            Self::Refused(message) => message,
        })
    }
}

impl From<&ChangeState> for controller::ChangeState {
    fn from(state: &ChangeState) -> Self {
        match state {
            ChangeState::Rolling => Self::Rolling,
            ChangeState::Committed => Self::Committed,
            ChangeState::Failed(reason) => Self::Failed { reason: reason.to_string() },
        }
    }
}

/// A change that is asked for; see [`Desired::apply`](super::Desired::apply).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewChange {
    /// Asking twice under one id asks once.
    pub request: ChangeRequest,
    /// The digest of what is asked for: the same id with another content is a conflict.
    pub content: Digest,
    /// What is wanted.
    pub wanted: BTreeMap<ModuleName, Want>,
    /// When it fails, if it has not committed.
    pub deadline: Time,
    /// When it was asked for.
    pub at: Time,
}

impl NewChange {
    /// Reads what a client asked for at `at`; `deadline` is for those who name none.
    ///
    /// # Errors
    /// [`ControllerError::Invalid`] when nothing is wanted, a module is wanted twice, or a number is out of range.
    pub fn of_spec(spec: &ChangeSpec, deadline: Duration, at: Time) -> Result<Self, ControllerError> {
        let invalid =
            |field: &str, message: String| ControllerError::Invalid { field: field.into(), message };
        if spec.wanted.is_empty() {
            return Err(invalid("wanted", "is empty: name at least one deployment".into()));
        }
        let mut wanted = BTreeMap::new();
        for (index, want) in spec.wanted.iter().enumerate() {
            let module = want.deployment.module().clone();
            if want.replicas == 0 || want.replicas > REPLICAS_MAX {
                let message = format!("is {}: give 1 to {REPLICAS_MAX}", want.replicas);
                return Err(invalid(&format!("wanted[{index}].replicas"), message));
            }
            let target = Target { deployment: want.deployment.clone(), platform: want.platform.clone() };
            if wanted.insert(module.clone(), Want { target, replicas: want.replicas }).is_some() {
                let message =
                    format!("is of module `{module}`, which is wanted twice: name each module once");
                return Err(invalid(&format!("wanted[{index}].deployment"), message));
            }
        }
        let asked = spec.deadline.unwrap_or(deadline);
        if asked.is_zero() || asked > DEADLINE_MAX {
            return Err(invalid(
                "deadline",
                format!("is {asked:?}: give more than nothing and at most a day"),
            ));
        }
        let content = content(&wanted, spec.deadline);
        Ok(Self { request: spec.request.clone(), content, wanted, deadline: at.plus(asked), at })
    }
}

/// What makes two requests the same: the wanted modules in the order of their names, and the deadline as asked.
fn content(wanted: &BTreeMap<ModuleName, Want>, deadline: Option<Duration>) -> Digest {
    let mut hasher = Hasher::default();
    hasher.field(b"ftl change 1");
    for want in wanted.values() {
        hasher.field(want.target.deployment.to_string().as_bytes());
        hasher.field(want.target.platform.as_str().as_bytes());
        hasher.field(&want.replicas.to_le_bytes());
    }
    hasher.field(&deadline.map_or([0; 16], |deadline| (deadline.as_micros() + 1).to_le_bytes()));
    hasher.finish()
}

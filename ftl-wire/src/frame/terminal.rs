//! How a call ends: REPLY, FAIL, ERROR or REJECT, and the [`Failure`] in the last two.

use std::time::Duration;

use bytes::Bytes;
use ftl_core::name::VerbRef;
use ftl_core::{Body, CallError, Code, Failure, Fate, Reply};

use super::header::{Frame, Kind, StreamId, Violation, flags};
use super::tlv::{Tlv, Tlvs, exactly, tag, text};
use super::writer::Writer;
use crate::limits::{DETAILS_BYTES_MAX, MESSAGE_BYTES_MAX, ORIGIN_BYTES_MAX};

/// How a call ended, as its opener sees it.
pub type Outcome = Result<Reply, CallError>;

/// The same while it waits to be fetched: a slot holds one, so it is small.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Terminal {
    Reply(Bytes),
    Fail(Bytes),
    Failed(Box<Failure>),
}

impl From<Terminal> for Outcome {
    fn from(terminal: Terminal) -> Self {
        match terminal {
            Terminal::Reply(body) => Ok(Reply::new(Body::once(body))),
            Terminal::Fail(error) => Err(CallError::Verb(Body::once(error))),
            Terminal::Failed(failure) => Err(CallError::Failed(*failure)),
        }
    }
}

/// Fate byte of an ERROR: nobody knows.
const MAY_HAVE_RUN: u8 = 1;
/// Fate byte of an ERROR: the verb began.
const RAN: u8 = 2;

/// Why a call was not started. Bit 7 is all that a caller needs: it says that every replica would answer so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(u8);

impl Reason {
    /// Another reason; another replica may answer differently.
    pub const ELSEWHERE: Self = Self(0x00);
    /// Too busy.
    pub const OVERLOADED: Self = Self(0x01);
    /// Takes no new calls.
    pub const DRAINING: Self = Self(0x02);
    /// Not ready yet, or not the replica that was meant.
    pub const NOT_READY: Self = Self(0x03);
    /// Knows no way to the module.
    pub const NO_ROUTE: Self = Self(0x04);
    /// The connection to the next hop broke before the call was sent.
    pub const LEG_LOST: Self = Self(0x05);
    /// Another reason; every replica would answer so.
    pub const OTHER: Self = Self(0x80);
    /// No such verb.
    pub const UNKNOWN_VERB: Self = Self(0x81);
    /// No time was left.
    pub const DEADLINE: Self = Self(0x82);
    /// Handed on too often.
    pub const TTL: Self = Self(0x83);
    /// Too many calls led to it.
    pub const DEPTH: Self = Self(0x84);
    /// Not allowed.
    pub const DENIED: Self = Self(0x85);
    /// Too large.
    pub const TOO_LARGE: Self = Self(0x86);
    /// Something in it must be understood and is not.
    pub const UNSUPPORTED: Self = Self(0x87);
    /// Cancelled before it started.
    pub const CANCELLED: Self = Self(0x88);

    /// The reason of this number.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        Self(number)
    }

    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Whether every replica would answer so.
    #[must_use]
    pub fn is_final(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// The reason that says most about a failure whose maker gave none.
    pub(super) fn of(code: Code, elsewhere: bool) -> Self {
        match (elsewhere, code) {
            (true, Code::ResourceExhausted) => Self::OVERLOADED,
            (true, Code::Unavailable) => Self::NOT_READY,
            (true, Code::NotFound) => Self::NO_ROUTE,
            (true, _) => Self::ELSEWHERE,
            (false, Code::NotFound) => Self::UNKNOWN_VERB,
            (false, Code::DeadlineExceeded) => Self::DEADLINE,
            (false, Code::PermissionDenied) => Self::DENIED,
            (false, Code::ResourceExhausted) => Self::TOO_LARGE,
            (false, Code::Unimplemented) => Self::UNSUPPORTED,
            (false, Code::Cancelled) => Self::CANCELLED,
            (false, _) => Self::OTHER,
        }
    }
}

/// Appends the end of a call that failed: REJECT if it was not started, ERROR otherwise.
///
/// `reason` says why it was not started, where the maker of the failure knows better than its code.
pub fn write_failure(out: &mut Vec<u8>, id: StreamId, failure: &Failure, reason: Option<Reason>) {
    let (kind, second) = match failure.fate {
        Fate::NotStarted { elsewhere } => {
            (Kind::Reject, reason.unwrap_or_else(|| Reason::of(failure.code, elsewhere)).number())
        }
        Fate::MayHaveRun => (Kind::Error, MAY_HAVE_RUN),
        Fate::Ran => (Kind::Error, RAN),
    };
    let mut writer = Writer::begin(out, id, kind, flags::END)
        .bytes(&[failure.code.number(), second, 0, 0])
        .tlv(tag::MESSAGE, &[cut(&failure.message, MESSAGE_BYTES_MAX).as_bytes()])
        .tlv_if(tag::REQUEST, failure.request.as_ref().map(|request| request.as_str()))
        .tlv_if(tag::DETAILS, failure.details.as_ref().filter(|details| details.len() <= DETAILS_BYTES_MAX))
        .tlv_if(tag::ORIGIN, failure.origin.as_deref().map(|origin| cut(origin, ORIGIN_BYTES_MAX)));
    if let Some(after) = failure.retry_after {
        let millis = u32::try_from(after.as_millis()).unwrap_or(u32::MAX);
        writer = writer.tlv(tag::RETRY_AFTER, &[&millis.to_le_bytes()]);
    }
    if let Some(VerbRef { module, verb }) = &failure.verb {
        writer = writer.tlv(tag::VERB, &[module.as_str().as_bytes(), b".", verb.as_str().as_bytes()]);
    }
    writer.finish();
}

fn cut(text: &str, limit: usize) -> &str {
    &text[..text.floor_char_boundary(limit)]
}

/// Reads the end of a call.
///
/// # Errors
/// When it is malformed, or no end of a call.
pub fn read_outcome(frame: &Frame<'_>) -> Result<Outcome, Violation> {
    read_terminal(frame).map(Outcome::from)
}

pub(crate) fn read_terminal(frame: &Frame<'_>) -> Result<Terminal, Violation> {
    match frame.kind() {
        Some(Kind::Reply) => Ok(Terminal::Reply(Bytes::copy_from_slice(frame.body))),
        Some(Kind::Fail) => Ok(Terminal::Fail(Bytes::copy_from_slice(frame.body))),
        Some(Kind::Error | Kind::Reject) => Ok(Terminal::Failed(Box::new(read_failure(frame)?))),
        _ => Err(Violation::Malformed("not the end of a call")),
    }
}

fn read_failure(frame: &Frame<'_>) -> Result<Failure, Violation> {
    let Some((&[code, second, _, _], tlvs)) = frame.meta.split_first_chunk::<4>() else {
        return Err(Violation::Malformed("a failure without its code"));
    };
    let mut failure = Failure::new(Code::from_number(code), String::new());
    failure.fate = match (frame.kind(), second) {
        (Some(Kind::Reject), reason) => Fate::NotStarted { elsewhere: !Reason(reason).is_final() },
        (_, RAN) => Fate::Ran,
        // A fate that is not known here is no reason to run a verb twice.
        _ => Fate::MayHaveRun,
    };
    Tlvs::new(tlvs).try_for_each(|tlv| take(&mut failure, tlv?))?;
    Ok(failure)
}

fn take(failure: &mut Failure, tlv: Tlv<'_>) -> Result<(), Violation> {
    let value = tlv.value;
    match tlv.name() {
        tag::MESSAGE => failure.message = text(value)?.to_owned(),
        tag::DETAILS => failure.details = Some(Bytes::copy_from_slice(value)),
        tag::RETRY_AFTER => {
            let millis = u32::from_le_bytes(exactly(value)?);
            failure.retry_after = Some(Duration::from_millis(millis.into()));
        }
        tag::ORIGIN => failure.origin = Some(text(value)?.to_owned()),
        // A name that is none here is left out: the failure matters more than its label.
        tag::REQUEST => failure.request = text(value)?.parse().ok(),
        tag::VERB => failure.verb = VerbRef::from_target(text(value)?).ok(),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode;
    use proptest::prelude::*;

    fn round_trip(failure: &Failure) -> Failure {
        let mut bytes = Vec::new();
        write_failure(&mut bytes, StreamId::new(false, 1, 0), failure, None);
        let frame = decode(&bytes).unwrap().unwrap();
        match read_outcome(&frame).unwrap() {
            Err(CallError::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    }

    fn failures() -> impl Strategy<Value = Failure> {
        let fate = prop_oneof![
            any::<bool>().prop_map(|elsewhere| Fate::NotStarted { elsewhere }),
            Just(Fate::MayHaveRun),
            Just(Fate::Ran),
        ];
        let (code, verb) = (0..Code::ALL.len(), prop::option::of(Just("clock.now")));
        let (after, origin) = (prop::option::of(any::<u32>()), prop::option::of("[a-z 0-9]{0,40}"));
        let details = prop::option::of(prop::collection::vec(any::<u8>(), 0..100));
        (code, fate, ".{0,80}", after, origin, details, verb).prop_map(
            |(code, fate, message, after, origin, details, verb)| {
                let mut failure = Failure::new(Code::ALL[code], message);
                failure.fate = fate;
                failure.retry_after = after.map(|millis| Duration::from_millis(millis.into()));
                failure.origin = origin;
                failure.details = details.map(Bytes::from);
                failure.verb = verb.map(|verb| verb.parse().unwrap());
                failure.request = verb.map(|_| "r-1".parse().unwrap());
                failure
            },
        )
    }

    proptest! {
        #[test]
        fn a_failure_survives_a_hop(failure in failures()) {
            prop_assert_eq!(round_trip(&failure), failure);
        }
    }

    #[test]
    fn a_message_is_cut_at_a_character() {
        let whole = "x".repeat(MESSAGE_BYTES_MAX);
        assert_eq!(round_trip(&Failure::new(Code::Internal, whole.clone())).message, whole);
        let longer = format!("{}ü", "x".repeat(MESSAGE_BYTES_MAX - 1));
        assert_eq!(round_trip(&Failure::new(Code::Internal, longer)).message.len(), MESSAGE_BYTES_MAX - 1);
    }

    #[test]
    fn details_that_are_too_large_are_left_out() {
        for (len, kept) in [(DETAILS_BYTES_MAX, true), (DETAILS_BYTES_MAX + 1, false)] {
            let mut failure = Failure::new(Code::Internal, "x");
            failure.details = Some(vec![0; len].into());
            assert_eq!(round_trip(&failure).details.is_some(), kept);
        }
    }

    #[test]
    fn the_largest_failure_fits_its_metadata() {
        let mut failure = Failure::new(Code::Internal, "x".repeat(2 * MESSAGE_BYTES_MAX));
        failure.details = Some(vec![0; DETAILS_BYTES_MAX].into());
        failure.origin = Some("o".repeat(1000));
        failure.retry_after = Some(Duration::MAX);
        failure.verb = Some(format!("{0}.{0}", "v".repeat(100)).parse().unwrap());
        failure.request = Some("r".repeat(64).parse().unwrap());
        assert_eq!(round_trip(&failure).retry_after, Some(Duration::from_millis(u32::MAX.into())));
    }

    #[test]
    fn what_is_not_known_is_taken_for_the_worse() {
        let error = |kind, second| {
            let mut bytes = Vec::new();
            Writer::begin(&mut bytes, StreamId::new(false, 1, 0), kind, flags::END)
                .bytes(&[99, second, 0, 0])
                .finish();
            match read_outcome(&decode(&bytes).unwrap().unwrap()).unwrap() {
                Err(CallError::Failed(failure)) => (failure.code, failure.fate),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(error(Kind::Error, 77), (Code::Unknown, Fate::MayHaveRun));
        assert_eq!(error(Kind::Reject, 0x7F), (Code::Unknown, Fate::NotStarted { elsewhere: true }));
        assert_eq!(error(Kind::Reject, 0xFF), (Code::Unknown, Fate::NotStarted { elsewhere: false }));
    }
}

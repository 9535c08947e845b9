//! The head of a call: written by the opener, read in place by relays, turned into a [`Head`] by the endpoint.

use std::time::Duration;

use ftl_core::Head;
use ftl_core::key::{Epoch, Instance, Replica, RunnerKey, TableVersion};
use ftl_core::name::{NameError, RequestId};
use ftl_core::{Code, Failure, Fate};
use tokio::time::Instant;

use super::header::{Frame, HEADER_BYTES, Kind, StreamId, Violation, flags};
use super::names::Names;
use super::terminal::Reason;
use super::tlv::{Tlv, Tlvs, exactly, tag, text};
use super::writer::Writer;
use crate::dispatch::Stamp;
use crate::limits::{CALL_TIMEOUT_MAX, IDEMPOTENCY_KEY_BYTES_MAX, TARGET_BYTES_MAX, TTL};

/// Bytes before the target: timeout, depth, ttl, attempt, length of the target.
const FIXED_BYTES: usize = 8;

/// What a stamp adds to the metadata at most, in bytes.
pub(crate) const STAMP_BYTES_MAX: usize = 3 + 16 + 3 + 24;

/// The head of a call as it lies in the receive buffer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CallHead<'a> {
    /// Milliseconds left; [`NO_TIMEOUT`](crate::limits::NO_TIMEOUT) for none.
    pub timeout_ms: u32,
    /// How many calls led to this one.
    pub depth: u8,
    /// How many relays it may still pass.
    pub ttl: u8,
    /// 0 at first.
    pub attempt: u8,
    /// `module.verb`.
    pub target: &'a str,
    /// All tagged values, as they stand.
    pub tlvs: &'a [u8],
    /// The id of the whole request.
    pub request: Option<&'a str>,
    /// The verb that calls.
    pub caller: Option<&'a str>,
    /// What makes two attempts the same to the verb.
    pub idempotency_key: Option<&'a str>,
    /// W3C trace context.
    pub trace: Option<[u8; 25]>,
    /// The version of the route table that the replica was picked from.
    pub table: Option<TableVersion>,
    /// The replica that was picked.
    pub replica: Option<Replica>,
    /// A value that an endpoint must understand and that is not known here.
    pub unsupported: Option<u8>,
}

impl<'a> CallHead<'a> {
    /// Reads the metadata of a CALL.
    ///
    /// # Errors
    /// When it is malformed. What only an endpoint may judge, as an over-long key, is no error here.
    pub fn read(meta: &'a [u8]) -> Result<Self, Violation> {
        let Some((&[t0, t1, t2, t3, depth, ttl, attempt, target_len], rest)) =
            meta.split_first_chunk::<FIXED_BYTES>()
        else {
            return Err(Violation::Malformed("a call without its head"));
        };
        let Some((target, tlvs)) = rest.split_at_checked(usize::from(target_len)) else {
            return Err(Violation::Malformed("a target longer than its frame"));
        };
        let mut head = Self {
            timeout_ms: u32::from_le_bytes([t0, t1, t2, t3]),
            depth,
            ttl,
            attempt,
            target: text(target)?,
            tlvs,
            request: None,
            caller: None,
            idempotency_key: None,
            trace: None,
            table: None,
            replica: None,
            unsupported: None,
        };
        Tlvs::new(tlvs).try_for_each(|tlv| head.take(tlv?))?;
        Ok(head)
    }

    fn take(&mut self, tlv: Tlv<'a>) -> Result<(), Violation> {
        let value = tlv.value;
        match tlv.name() {
            tag::TRACE => self.trace = Some(exactly(value)?),
            tag::CALLER => self.caller = Some(text(value)?),
            tag::IDEMPOTENCY_KEY => self.idempotency_key = Some(text(value)?),
            tag::REQUEST => self.request = Some(text(value)?),
            tag::TABLE => {
                let (epoch, seq) = two_numbers(exactly(value)?);
                self.table = Some(TableVersion { epoch: Epoch(epoch), seq });
            }
            tag::REPLICA => self.replica = Some(replica(exactly(value)?)),
            _ if tlv.must() => self.unsupported = self.unsupported.or(Some(tlv.tag)),
            _ => {}
        }
        Ok(())
    }

    /// Whether the reserved module `ftl` is addressed: such a call ends at the connection it arrived on.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.target.split_once('.').map_or(self.target, |(module, _)| module)
            == ftl_core::name::RESERVED_MODULE
    }
}

fn two_numbers(bytes: [u8; 16]) -> (u64, u64) {
    let number = u128::from_le_bytes(bytes);
    (number as u64, (number >> 64) as u64)
}

fn replica(bytes: [u8; 24]) -> Replica {
    let [k0, k1, k2, k3, k4, k5, k6, k7, instance @ ..] = bytes;
    let runner = RunnerKey(u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]));
    Replica { runner, instance: Instance(instance) }
}

/// Appends a whole CALL.
///
/// The caller of this has checked the limits that [`Head`] does not keep by itself: depth and body.
pub fn write_call(out: &mut Vec<u8>, id: StreamId, head: &Head, timeout_ms: u32, body: &[u8]) {
    let (module, verb) = (head.target.module.as_str(), head.target.verb.as_str());
    let target_len = module.len() + 1 + verb.len();
    debug_assert!(target_len <= TARGET_BYTES_MAX, "two names of at most 100 bytes");
    let [t0, t1, t2, t3] = timeout_ms.to_le_bytes();
    let mut writer = Writer::begin(out, id, Kind::Call, flags::END)
        .bytes(&[t0, t1, t2, t3, head.depth, TTL, head.attempt, target_len as u8])
        .bytes(module.as_bytes())
        .bytes(b".")
        .bytes(verb.as_bytes())
        .tlv_if(tag::TRACE, head.trace);
    if let Some(caller) = &head.caller {
        let (module, verb) = (caller.module.as_str(), caller.verb.as_str());
        writer = writer.tlv(tag::CALLER, &[module.as_bytes(), b".", verb.as_bytes()]);
    }
    let key = head.idempotency_key.as_ref().map(|key| key.as_str());
    writer = writer.tlv_if(tag::IDEMPOTENCY_KEY, key).tlv(tag::REQUEST, &[head.request.as_str().as_bytes()]);
    stamped(writer, &Stamp { replica: head.replica, table: head.table }).body(body);
}

fn stamped<'a>(mut writer: Writer<'a>, stamp: &Stamp) -> Writer<'a> {
    if let Some(TableVersion { epoch, seq }) = stamp.table {
        writer = writer.tlv(tag::TABLE, &[&epoch.0.to_le_bytes(), &seq.to_le_bytes()]);
    }
    if let Some(Replica { runner, instance }) = stamp.replica {
        writer = writer.tlv(tag::REPLICA, &[&runner.0.to_le_bytes(), &instance.0]);
    }
    writer
}

/// Appends a CALL that came from another connection: with its new id and the time left, one relay less to pass, and
/// stamped. The body is copied, never read.
///
/// `from_user_code`: nothing says on whose behalf user code calls, so what it claims about that is left out.
pub(crate) fn forward_call(
    out: &mut Vec<u8>,
    frame: &Frame<'_>,
    id: StreamId,
    timeout_ms: u32,
    stamp: &Stamp,
    from_user_code: bool,
) {
    let (start, ttl) = (out.len() + HEADER_BYTES, frame.meta[5] - 1);
    let head_len = FIXED_BYTES + usize::from(frame.meta[7]);
    let mut writer =
        Writer::begin_raw(out, id, frame.header.kind, frame.header.flags).bytes(&frame.meta[..head_len]);
    let tlvs = &frame.meta[head_len..];
    let dropped = |name: u8| match name {
        tag::TABLE => stamp.table.is_some(),
        tag::REPLICA => stamp.replica.is_some(),
        tag::PRINCIPAL => from_user_code,
        _ => false,
    };
    if Tlvs::new(tlvs).flatten().any(|tlv| dropped(tlv.name())) {
        for tlv in Tlvs::new(tlvs).flatten().filter(|tlv| !dropped(tlv.name())) {
            writer = writer.tlv(tlv.tag, &[tlv.value]);
        }
    } else {
        writer = writer.bytes(tlvs);
    }
    stamped(writer, stamp).body(frame.body);
    out[start..start + 4].copy_from_slice(&timeout_ms.to_le_bytes());
    out[start + 5] = ttl;
}

/// Appends a frame unchanged but for its id.
pub(crate) fn retarget(out: &mut Vec<u8>, frame: &Frame<'_>, id: StreamId) {
    let mut header = frame.header;
    header.id = id;
    out.extend_from_slice(&header.to_bytes());
    out.extend_from_slice(frame.meta);
    out.extend_from_slice(frame.body);
}

/// A call that is refused here, before it started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    pub(crate) reason: Reason,
    pub(crate) failure: Failure,
}

impl Refused {
    pub(crate) fn new(reason: Reason, code: Code, message: impl Into<String>) -> Self {
        Self { reason, failure: Failure::new(code, message).not_started(!reason.is_final()) }
    }
}

impl Refused {
    /// A refusal that somebody else worded. A call that is refused was not started, whatever they say.
    pub(crate) fn of(mut failure: Failure) -> Self {
        if !matches!(failure.fate, Fate::NotStarted { .. }) {
            failure.fate = Fate::NotStarted { elsewhere: false };
        }
        let elsewhere = failure.fate == Fate::NotStarted { elsewhere: true };
        Self { reason: Reason::of(failure.code, elsewhere), failure }
    }
}

/// The head that the verb sees.
pub(crate) fn owned_head(head: &CallHead<'_>, names: &mut Names, now: Instant) -> Result<Head, Refused> {
    if let Some(tag) = head.unsupported {
        let message = format!("this version does not understand the value {tag:#04x} of the call");
        return Err(Refused::new(Reason::UNSUPPORTED, Code::Unimplemented, message));
    }
    if let Some(key) = head.idempotency_key
        && key.len() > IDEMPOTENCY_KEY_BYTES_MAX
    {
        let message =
            format!("the idempotency key has {} bytes, the limit is {IDEMPOTENCY_KEY_BYTES_MAX}", key.len());
        return Err(Refused::new(Reason::TOO_LARGE, Code::ResourceExhausted, message));
    }
    let unknown = |error: NameError| Refused::new(Reason::UNKNOWN_VERB, Code::NotFound, error.to_string());
    let invalid = |error: NameError| Refused::new(Reason::OTHER, Code::InvalidArgument, error.to_string());
    let target = names.verb(head.target).map_err(unknown)?;
    let request = match head.request {
        Some(request) => request.parse::<RequestId>(),
        None => drawn_request().parse(),
    };
    let left = Duration::from_millis(head.timeout_ms.into()).min(CALL_TIMEOUT_MAX);
    let mut owned = Head::new(target, request.map_err(invalid)?, now + left);
    owned.caller = head.caller.map(|caller| names.verb(caller)).transpose().map_err(invalid)?;
    owned.idempotency_key = head.idempotency_key.map(str::parse).transpose().map_err(invalid)?;
    (owned.depth, owned.attempt) = (head.depth, head.attempt);
    (owned.replica, owned.table, owned.trace) = (head.replica, head.table, head.trace);
    Ok(owned)
}

/// A request id for a caller that gave none: every log line of a call has one.
fn drawn_request() -> String {
    let mut random = [0; 8];
    // Without random bytes the id is not unique; the call need not fail for that.
    let _ = getrandom::fill(&mut random);
    format!("wire-{:016x}", u64::from_le_bytes(random))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::decode;
    use proptest::prelude::*;

    fn whole_head() -> Head {
        let mut head = Head::new("echo.echo".parse().unwrap(), "r-1".parse().unwrap(), Instant::now());
        head.caller = Some("time.now".parse().unwrap());
        head.idempotency_key = Some("k-42".parse().unwrap());
        head.trace = Some([7; 25]);
        head.table = Some(TableVersion { epoch: Epoch(3), seq: 9 });
        head.replica = Some(Replica { runner: RunnerKey(41), instance: Instance([5; 16]) });
        (head.depth, head.attempt) = (4, 1);
        head
    }

    fn written(head: &Head, timeout_ms: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_call(&mut bytes, StreamId::new(false, 1, 7), head, timeout_ms, body);
        bytes
    }

    #[test]
    fn a_head_survives_the_wire() {
        let now = Instant::now();
        let mut head = whole_head();
        head.deadline = now + Duration::from_millis(1500);
        let bytes = written(&head, 1500, b"{}");
        let frame = decode(&bytes).unwrap().unwrap();
        assert_eq!(
            owned_head(&CallHead::read(frame.meta).unwrap(), &mut Names::default(), now).unwrap(),
            head
        );
        assert_eq!(frame.body, b"{}");
    }

    #[test]
    fn a_target_may_have_255_bytes() {
        for len in [254, 255] {
            let mut meta = vec![0, 0, 0, 0, 0, 8, 0, len];
            meta.extend(std::iter::repeat_n(b'a', usize::from(len)));
            assert_eq!(CallHead::read(&meta).unwrap().target.len(), usize::from(len));
            assert!(CallHead::read(&meta[..meta.len() - 1]).is_err(), "cut");
        }
    }

    fn raw(tlvs: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, StreamId::new(false, 1, 0), Kind::Call, flags::END)
            .bytes(&[100, 0, 0, 0, 0, 8, 0, 3])
            .bytes(b"a.b");
        for (tag, value) in tlvs {
            writer = writer.tlv(*tag, &[value]);
        }
        writer.body(b"body");
        bytes
    }

    fn head_of(tlvs: &[(u8, &[u8])]) -> Result<Head, Reason> {
        let bytes = raw(tlvs);
        let frame = decode(&bytes).unwrap().unwrap();
        owned_head(&CallHead::read(frame.meta).unwrap(), &mut Names::default(), Instant::now())
            .map_err(|refused| refused.reason)
    }

    #[test]
    fn an_idempotency_key_may_have_64_bytes() {
        assert!(head_of(&[(tag::IDEMPOTENCY_KEY, &[b'k'; 64])]).is_ok());
        assert_eq!(head_of(&[(tag::IDEMPOTENCY_KEY, &[b'k'; 65])]).unwrap_err(), Reason::TOO_LARGE);
    }

    #[test]
    fn an_unknown_value_is_refused_only_where_it_must_be_understood() {
        assert!(head_of(&[(0x7E, b"later")]).is_ok());
        assert_eq!(head_of(&[(0xFE, b"later")]).unwrap_err(), Reason::UNSUPPORTED);
        assert!(head_of(&[(tag::CALLER | tag::MUST, b"a.b")]).is_ok(), "known");
    }

    #[test]
    fn a_call_without_a_request_id_gets_one() {
        assert!(head_of(&[]).unwrap().request.as_str().starts_with("wire-"));
        assert_eq!(head_of(&[(tag::REQUEST, b"not an id")]).unwrap_err(), Reason::OTHER);
    }

    #[test]
    fn an_unary_call_ends_after_an_hour_at_the_latest() {
        let now = Instant::now();
        let mut head = whole_head();
        head.deadline = now + CALL_TIMEOUT_MAX;
        let bytes = written(&head, crate::limits::NO_TIMEOUT, b"");
        let frame = decode(&bytes).unwrap().unwrap();
        assert_eq!(
            owned_head(&CallHead::read(frame.meta).unwrap(), &mut Names::default(), now).unwrap(),
            head
        );
    }

    #[test]
    fn control_is_recognised_however_it_is_written() {
        let is_control = |target: &str| {
            let mut meta = vec![0, 0, 0, 0, 0, 8, 0, target.len() as u8];
            meta.extend(target.as_bytes());
            CallHead::read(&meta).unwrap().is_control()
        };
        assert!(is_control("ftl.deploy") && is_control("ftl") && is_control("ftl.") && is_control("ftl.a.b"));
        assert!(!is_control("ftlx.deploy") && !is_control("a.ftl"));
    }

    /// What a relay may change is changed; everything else, unknown values included, arrives as it was sent.
    #[test]
    fn tlv_unknown_preserved_by_relay() {
        let stamp = Stamp {
            replica: Some(Replica { runner: RunnerKey(2), instance: Instance([2; 16]) }),
            table: None,
        };
        let sent = raw(&[
            (0xFE, b"must"),
            (tag::PRINCIPAL, b"root"),
            (tag::REPLICA, &[1; 24]),
            (tag::TABLE, &[1; 16]),
            (0x7D, b"may"),
        ]);
        let frame = decode(&sent).unwrap().unwrap();
        let relayed = |stamp: &Stamp, from_user_code| {
            let mut out = b"before".to_vec();
            forward_call(&mut out, &frame, StreamId::new(true, 9, 3), 42, stamp, from_user_code);
            out.split_off(6)
        };
        let plain = relayed(&Stamp::default(), false);
        let plain = decode(&plain).unwrap().unwrap();
        assert_eq!(plain.header.id, StreamId::new(true, 9, 3));
        assert_eq!(plain.meta[..6], [42, 0, 0, 0, 0, 7]);
        assert_eq!((&plain.meta[6..], plain.body), (&frame.meta[6..], frame.body));

        let stamped = relayed(&stamp, true);
        let stamped = decode(&stamped).unwrap().unwrap();
        let head = CallHead::read(stamped.meta).unwrap();
        assert_eq!(
            (head.replica, head.table.map(|table| table.seq)),
            (stamp.replica, Some(u64::from_le_bytes([1; 8])))
        );
        let names: Vec<_> = Tlvs::new(head.tlvs).map(|tlv| tlv.unwrap().tag).collect();
        assert_eq!(names, [0xFE, tag::TABLE, 0x7D, tag::REPLICA], "nobody believes user code's principal");
    }

    proptest! {
        #[test]
        fn a_relay_changes_only_what_it_may(
            values in prop::collection::btree_map(0u8..0x80, prop::collection::vec(any::<u8>(), 0..40), 0..20),
            body in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut sent = Vec::new();
            let mut writer = Writer::begin(&mut sent, StreamId::new(false, 1, 0), Kind::Call, flags::END)
                .bytes(&[100, 0, 0, 0, 5, 8, 1, 3]).bytes(b"a.b");
            for (tag, value) in &values { writer = writer.tlv(*tag, &[value]); }
            writer.body(&body);
            let frame = decode(&sent).unwrap().unwrap();
            let mut out = Vec::new();
            forward_call(&mut out, &frame, StreamId::new(true, 2, 1), 99, &Stamp::default(), false);
            let relayed = decode(&out).unwrap().unwrap();
            prop_assert_eq!(&relayed.meta[6..], &frame.meta[6..]);
            prop_assert_eq!(relayed.body, frame.body);
        }
    }
}

//! Tells the time: a module that calls nobody.

mod calendar;

use std::time::SystemTime;

use calendar::Utc;

ftl::module! {
    /// Tells the time.
    verbs: [now]
}

/// A moment.
#[ftl::data]
pub struct NowReply {
    /// The time in UTC, to the second, as `2026-11-24T07:00:00Z` (RFC 3339).
    pub time: String,
}

/// Why there is no time to tell.
#[ftl::error]
pub enum NowError {
    /// The machine's clock is set to a time that cannot be written: before 1970 or after the year 9999.
    #[error("the clock of this machine is not set")]
    NotSet,
}

/// Tells the time.
#[ftl::verb]
pub async fn now() -> Result<NowReply, NowError> {
    let time = Utc::of(SystemTime::now()).ok_or(NowError::NotSet)?;
    Ok(NowReply { time: time.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn now_is_written_as_in_rfc_3339() {
        // A verb is a plain function: call it.
        let NowReply { time } = now().await.unwrap();
        assert_eq!(time.len(), "2026-11-24T07:00:00Z".len());
        assert!(time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    }
}

//! What a run found: data for programs, sentences for people.

use std::fmt;
use std::time::Duration;

use ftl_core::name::PlatformName;
use ftl_core::platform::Capability;
use serde::Serialize;

use crate::check::{Check, Outcome};

/// How one check ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// `group::check`.
    pub check: &'static str,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// What the platform must claim for it.
    pub gate: Option<Capability>,
    /// What a platform that fails it pretends.
    pub lie: &'static str,
    /// The rule of the contract that is broken then.
    pub rule: &'static str,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl Finding {
    pub(crate) fn new(check: &Check, outcome: Outcome, took: Duration) -> Self {
        let Check { name, gate, lie, rule, .. } = *check;
        Self { check: name, outcome, gate, lie, rule, took_ms: took.as_millis() as u64 }
    }

    /// What a person must know of it when it is no pass; `again` is what was typed to run it, without its options.
    #[must_use]
    pub fn in_words(&self, again: &str, seed: u64) -> String {
        let Self { check, lie, rule, .. } = self;
        match &self.outcome {
            Outcome::Fail(why) => format!(
                "FAIL  {check}   {why}\n      lie: {lie}\n      rule: {rule}\n      rerun: {again} --only {check} --seed {seed}"
            ),
            Outcome::NotProven(why) => {
                format!("NOT PROVEN  {check}   {why}\n      accept it: --allow-unproven {check}")
            }
            Outcome::RefusedAsDeclared(claim) => format!("refused as declared  {check}   without `{claim}`"),
            Outcome::Pass => format!("pass  {check}"),
        }
    }
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The platform.
    pub platform: PlatformName,
    /// What named its clusters.
    pub seed: u64,
    /// The slowest of the starts that were timed, in milliseconds: waits are a multiple of it.
    pub start_ms: u64,
    /// How long it all took, in milliseconds.
    pub took_ms: u64,
    /// One for each check.
    pub findings: Vec<Finding>,
}

/// What a run says of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    /// Everything that it claims is so, and everything else is refused.
    Conformant,
    /// Some checks had no means; nothing else is wrong.
    NotProven,
    /// A promise is broken.
    NotConformant,
}

impl Report {
    pub(crate) fn new(
        platform: PlatformName,
        seed: u64,
        start: Duration,
        took: Duration,
        findings: Vec<Finding>,
    ) -> Self {
        let millis = |time: Duration| time.as_millis() as u64;
        Self { platform, seed, start_ms: millis(start), took_ms: millis(took), findings }
    }

    /// What it comes to, when these checks need not be proven.
    #[must_use]
    pub fn conclusion(&self, unproven: &[String]) -> Conclusion {
        let allowed = |finding: &Finding| unproven.iter().any(|check| check == finding.check);
        let open = |finding: &&Finding| matches!(finding.outcome, Outcome::NotProven(_)) && !allowed(finding);
        if self.findings.iter().any(|finding| matches!(finding.outcome, Outcome::Fail(_))) {
            Conclusion::NotConformant
        } else if self.findings.iter().any(|finding| open(&finding)) {
            Conclusion::NotProven
        } else {
            Conclusion::Conformant
        }
    }

    /// How many checks ended as: passed, refused as declared, not proven, failed.
    #[must_use]
    pub fn counts(&self) -> [usize; 4] {
        let mut counts = [0; 4];
        for finding in &self.findings {
            let index = match finding.outcome {
                Outcome::Pass => 0,
                Outcome::RefusedAsDeclared(_) => 1,
                Outcome::NotProven(_) => 2,
                Outcome::Fail(_) => 3,
            };
            counts[index] += 1;
        }
        counts
    }

    /// The last line.
    #[must_use]
    pub fn summary(&self, unproven: &[String]) -> String {
        let [passed, refused, open, failed] = self.counts();
        let conclusion = self.conclusion(unproven);
        format!(
            "pass {passed} · refused as declared {refused} · NOT PROVEN {open} · fail {failed} → {conclusion}"
        )
    }
}

impl fmt::Display for Conclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Conformant => "conformant",
            Self::NotProven => "not proven",
            Self::NotConformant => "not conformant",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::all;

    fn report(outcomes: impl IntoIterator<Item = Outcome>) -> Report {
        let findings = outcomes.into_iter().zip(all());
        let findings = findings.map(|(outcome, check)| Finding::new(&check, outcome, Duration::ZERO));
        let second = Duration::from_secs(1);
        Report::new("x".parse().unwrap(), 41, Duration::ZERO, second, findings.collect())
    }

    #[test]
    fn one_failure_is_enough_and_nothing_is_skipped() {
        let refused = Outcome::RefusedAsDeclared(Capability::Adopt);
        let fine = report([Outcome::Pass, refused]);
        assert_eq!(fine.summary(&[]), "pass 1 · refused as declared 1 · NOT PROVEN 0 · fail 0 → conformant");
        let open = report([Outcome::Pass, Outcome::NotProven("no means".into())]);
        assert_eq!(open.conclusion(&[]), Conclusion::NotProven);
        let allowed = open.findings[1].check.to_owned();
        assert_eq!(open.conclusion(&[allowed]), Conclusion::Conformant);
        assert_eq!(
            open.conclusion(&["create".to_owned()]),
            Conclusion::NotProven,
            "checks are named one by one"
        );
        let failed = report([Outcome::Fail("late".into()), Outcome::NotProven("no means".into())]);
        assert_eq!(failed.conclusion(&[]), Conclusion::NotConformant);
    }

    #[test]
    fn a_failure_says_what_it_means_and_how_to_see_it_again() {
        let outcomes = [
            Outcome::Fail("still not so 2.0 s later: runner 1 registers".into()),
            Outcome::Pass,
            Outcome::NotProven("the fixture cannot look at the backend".into()),
            Outcome::RefusedAsDeclared(Capability::Adopt),
        ];
        let report = report(outcomes);
        let words = report.findings.iter().map(|finding| finding.in_words("ftl platform verify x", 41));
        let lines: Vec<_> = words.chain([report.summary(&[])]).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}

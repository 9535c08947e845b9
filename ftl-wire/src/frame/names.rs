//! The verbs that the calls of one connection name: the same few again and again, each read once.

use ftl_core::name::{NameError, VerbRef};

/// How many are remembered.
const NAMES_MAX: usize = 16;

/// The verbs that were named last.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Vec<VerbRef>,
    /// Which is forgotten next.
    oldest: usize,
}

impl Names {
    /// Reads `module.verb`, as [`VerbRef::from_target`] does.
    pub(crate) fn verb(&mut self, text: &str) -> Result<VerbRef, NameError> {
        if let Some(known) = self.known.iter().find(|known| is(known, text)) {
            return Ok(known.clone());
        }
        let verb = VerbRef::from_target(text)?;
        if self.known.len() < NAMES_MAX {
            self.known.push(verb.clone());
        } else {
            self.known[self.oldest] = verb.clone();
            self.oldest = (self.oldest + 1) % NAMES_MAX;
        }
        Ok(verb)
    }
}

fn is(known: &VerbRef, text: &str) -> bool {
    let rest = text.strip_prefix(known.module.as_str()).and_then(|rest| rest.strip_prefix('.'));
    rest == Some(known.verb.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_it_is_read_as_however_many_there_are() {
        let mut names = Names::default();
        for round in 0..3 {
            for number in 0..=2 * NAMES_MAX {
                let text = format!("m{number}.v{}", number % 3);
                assert_eq!(names.verb(&text).unwrap(), text.parse().unwrap(), "round {round}");
            }
        }
        assert_eq!(names.known.len(), NAMES_MAX);
    }

    #[test]
    fn a_name_that_is_none_is_refused_every_time() {
        let mut names = Names::default();
        names.verb("ab.c").unwrap();
        for text in ["ab", "ab.", "ab.C", "abc", "", "a.b.c"] {
            assert!(names.verb(text).is_err() && names.verb(text).is_err(), "{text}");
        }
        assert_eq!(names.verb("a.c").unwrap().to_string(), "a.c");
        assert!(names.verb("ftl.deploy").is_ok(), "control messages are named like verbs");
    }
}

//! Names that people give, each parsed once into a type that can hold nothing else.
//!
//! Identities that the system mints are in [`key`](crate::key); content identities in [`digest`](crate::digest).

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Longest name of a module or a verb, in bytes: `module.verb` must fit the 255 bytes of a call's target.
pub const NAME_BYTES_MAX: usize = 100;
/// Longest request id, client id or platform name, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// The module that control messages are addressed to. No user module can be called so.
pub const RESERVED_MODULE: &str = "ftl";

/// A text that is not a legal name: says which kind of name, what was found, and the rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a {kind}: {rule}")]
pub struct NameError {
    kind: &'static str,
    found: String,
    rule: &'static str,
}

/// Defines a newtype over shared text whose only constructor is a parser.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $kind:literal, $rule:literal, $valid:expr;)*) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(NameError { kind: $kind, found: text.chars().take(ID_BYTES_MAX).collect(), rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

names! {
    /// The name of a module: a package name with `-` read as `_`.
    ///
    /// * lower-case ASCII letters, digits and `_`, beginning with a letter, at most [`NAME_BYTES_MAX`] bytes;
    /// * not [`RESERVED_MODULE`].
    ///
    /// ```
    /// use ftl_core::name::ModuleName;
    /// assert_eq!("greeter".parse::<ModuleName>().unwrap().as_str(), "greeter");
    /// assert!("Greeter".parse::<ModuleName>().is_err());
    /// assert!("ftl".parse::<ModuleName>().is_err());
    /// ```
    ModuleName = "module name", "lower-case letters, digits and `_`, beginning with a letter, and not `ftl`",
        |text| is_identifier(text) && text != RESERVED_MODULE;

    /// The name of a verb inside its module: the name of a Rust function.
    ///
    /// ```
    /// use ftl_core::name::VerbName;
    /// assert!("say_hello".parse::<VerbName>().is_ok());
    /// assert!("say-hello".parse::<VerbName>().is_err());
    /// ```
    VerbName = "verb name", "lower-case letters, digits and `_`, beginning with a letter", is_identifier;

    /// A language that user code is written in, as `rust`.
    Language = "language", "lower-case letters, digits, `_`, `+`, `-` and `#`, at most 64 bytes",
        |text| is_id(text, "_+-#") && !text.bytes().any(|b| b.is_ascii_uppercase());

    /// The name under which a platform is configured, as `local` or `docker`.
    PlatformName = "platform name", "letters, digits, `_`, `-` and `.`, at most 64 bytes", |text| is_id(text, "_-.");

    /// The name of a network that a platform already has, as `shop_default`.
    NetworkName = "network name", "letters, digits, `_`, `-` and `.`, at most 64 bytes", |text| is_id(text, "_-.");

    /// The triple of a compiler target, as `x86_64-unknown-linux-gnu`.
    TargetTriple = "target triple", "letters, digits, `_`, `-` and `.`, at most 64 bytes", |text| is_id(text, "_-.");

    /// Which Controller's world this is; chosen once, at its first start.
    ClusterId = "cluster id", "letters, digits, `_` and `-`, at most 64 bytes", |text| is_id(text, "_-");

    /// One call, from the edge to the last deployment; in every log line and every failure.
    RequestId = "request id", "letters, digits, `_`, `-` and `.`, at most 64 bytes", |text| is_id(text, "_-.");

    /// The idempotency id that a client gives to a change: the same id asks for the same thing once.
    ChangeRequest = "change request id", "letters, digits, `_`, `-` and `.`, at most 64 bytes", |text| is_id(text, "_-.");

    /// What makes two attempts of one call the same to the verb.
    IdempotencyKey = "idempotency key", "1 to 64 visible ASCII characters",
        |text| !text.is_empty() && text.len() <= ID_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
}

fn is_identifier(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn is_id(text: &str, besides: &str) -> bool {
    !text.is_empty()
        && text.len() <= ID_BYTES_MAX
        && text.chars().all(|c| c.is_ascii_alphanumeric() || besides.contains(c))
}

impl ModuleName {
    /// The reserved module `ftl`, to which only control messages are addressed.
    #[must_use]
    pub fn reserved() -> Self {
        Self(RESERVED_MODULE.into())
    }

    /// Whether this is the reserved module `ftl`.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        &*self.0 == RESERVED_MODULE
    }

    /// The module that a package of this name makes.
    ///
    /// # Errors
    /// When the package's name is not a legal module name even with `-` read as `_`.
    pub fn of_package(package: &str) -> Result<Self, NameError> {
        package.replace('-', "_").parse()
    }
}

/// A verb of a module: `module.verb`.
///
/// ```
/// use ftl_core::name::VerbRef;
/// let verb: VerbRef = "clock.now".parse().unwrap();
/// assert_eq!((verb.module.as_str(), verb.verb.as_str()), ("clock", "now"));
/// assert!("clock".parse::<VerbRef>().is_err());
/// assert!("ftl.deploy".parse::<VerbRef>().is_err(), "reserved for control messages");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VerbRef {
    /// The module.
    pub module: ModuleName,
    /// The verb in it.
    pub verb: VerbName,
}

impl VerbRef {
    /// Names a verb.
    #[must_use]
    pub fn new(module: ModuleName, verb: VerbName) -> Self {
        Self { module, verb }
    }

    /// Reads a call's target as it stands on the wire, where the reserved module may be addressed.
    ///
    /// Whoever accepts such a target must be the end of the connection it came on (see `remote`).
    ///
    /// # Errors
    /// When the text is not `module.verb`.
    pub fn from_target(text: &str) -> Result<Self, NameError> {
        match text.strip_prefix("ftl.") {
            Some(verb) => Ok(Self { module: ModuleName::reserved(), verb: verb.parse()? }),
            None => text.parse(),
        }
    }
}

impl FromStr for VerbRef {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some((module, verb)) = text.split_once('.') else {
            let found = text.chars().take(ID_BYTES_MAX).collect();
            return Err(NameError { kind: "verb", found, rule: "write `module.verb`" });
        };
        Ok(Self { module: module.parse()?, verb: verb.parse()? })
    }
}

impl fmt::Display for VerbRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.module, self.verb)
    }
}

impl fmt::Debug for VerbRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for VerbRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for VerbRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The candidate nearest to what was typed, if any is near enough to be a slip of the fingers.
///
/// ```
/// use ftl_core::name::nearest;
/// assert_eq!(nearest("greter", ["clock", "greeter"]), Some("greeter"));
/// assert_eq!(nearest("zebra", ["clock", "greeter"]), None);
/// ```
#[must_use]
pub fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = 1 + typed.chars().count() / 3;
    candidates
        .into_iter()
        .map(|candidate| (edits(typed, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance, one row at a time.
fn edits(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replace = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_refused_with_its_rule() {
        let error = "1st".parse::<ModuleName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`1st` is not a module name: lower-case letters, digits and `_`, beginning with a letter, and not `ftl`"
        );
        assert!("a".repeat(NAME_BYTES_MAX).parse::<VerbName>().is_ok());
        assert!("a".repeat(NAME_BYTES_MAX + 1).parse::<VerbName>().is_err());
        assert!("".parse::<RequestId>().is_err());
        assert!("ü".parse::<RequestId>().is_err());
    }

    #[test]
    fn only_a_target_may_name_the_reserved_module() {
        assert!("ftl.deploy".parse::<VerbRef>().is_err());
        assert!(VerbRef::from_target("ftl.deploy").unwrap().module.is_reserved());
        assert!(serde_json::from_str::<VerbRef>("\"ftl.deploy\"").is_err());
    }

    #[test]
    fn a_package_becomes_a_module() {
        assert_eq!(ModuleName::of_package("my-shop").unwrap().as_str(), "my_shop");
        assert!(ModuleName::of_package("ftl").is_err());
    }

    proptest! {
        #[test]
        fn display_and_parse_round_trip(module in "[a-z][a-z0-9_]{0,99}", verb in "[a-z][a-z0-9_]{0,99}") {
            prop_assume!(module != "ftl");
            let text = format!("{module}.{verb}");
            let parsed: VerbRef = text.parse().unwrap();
            prop_assert_eq!(parsed.to_string(), text.as_str());
            let json = serde_json::to_string(&parsed).unwrap();
            prop_assert_eq!(serde_json::from_str::<VerbRef>(&json).unwrap(), parsed);
            prop_assert!(text.len() <= 255);
        }

        #[test]
        fn parsing_is_total(text in any::<String>()) {
            let _ = text.parse::<VerbRef>();
            let _ = VerbRef::from_target(&text);
            let _ = nearest(&text, ["clock"]);
        }
    }
}

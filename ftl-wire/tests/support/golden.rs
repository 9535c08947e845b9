//! The examples in `docs/wire.md`: blocks of hexadecimal bytes, each with a name.

#![allow(clippy::unwrap_used, reason = "the helpers of tests fail as tests do")]

use std::collections::BTreeMap;

const DOCUMENT: &str = include_str!("../../../docs/wire.md");

/// Every example of the document, by its name. What follows a `;` is a remark.
pub(crate) fn examples() -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut lines = DOCUMENT.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```hex ") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        let known = found.insert(name.to_owned(), bytes_of(&block));
        assert!(known.is_none(), "two examples are called {name}");
    }
    found
}

fn bytes_of(block: &[&str]) -> Vec<u8> {
    let digits: String = block
        .iter()
        .map(|line| line.split(';').next().unwrap_or_default())
        .flat_map(str::chars)
        .filter(|character| !character.is_whitespace())
        .collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

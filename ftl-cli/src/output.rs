//! The only place that prints: data on standard output, everything else on standard error.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};

use serde_json::Value;

use crate::error::CliError;

/// How a command answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs: one final object; JSON Lines where a command streams.
    Json,
}

impl Format {
    /// What a command line asks for that cannot be read as a whole.
    pub(crate) fn asked_for(arguments: impl Iterator<Item = OsString>) -> Self {
        let arguments: Vec<OsString> = arguments.collect();
        let json = arguments.windows(2).any(|pair| pair[0] == "--format" && pair[1] == "json")
            || arguments.iter().any(|argument| argument == "--format=json");
        if json { Self::Json } else { Self::Text }
    }
}

/// Prints in one format.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Data for programs and people alike: one line of JSON.
    ///
    /// # Errors
    /// When it cannot be written: an answer that nobody got is no success.
    pub(crate) fn data(self, value: &(impl Display + ?Sized)) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{value}").and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            // `ftl logs -f | head` is no error, and no reason to go on.
            io::ErrorKind::BrokenPipe => CliError::unread(),
            _ => CliError::failed("standard output cannot be written").because(error),
        })
    }

    /// A result: text for people, an object for programs.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub(crate) fn result(self, text: &str, value: &Value) -> Result<(), CliError> {
        match self.format {
            Format::Text => self.data(text),
            Format::Json => self.data(value),
        }
    }

    /// What is going on, for people; nothing for programs.
    pub(crate) fn note(self, text: &str) {
        if self.format == Format::Text {
            say(&text);
        }
    }

    /// What went wrong.
    pub(crate) fn error(self, error: &CliError) {
        if error.is_unread() {
            return;
        }
        if let Some(data) = &error.data {
            // The error below is told all the same.
            let _ = self.data(data);
        }
        match self.format {
            Format::Text => say(error),
            Format::Json => say(&error.to_json()),
        }
    }
}

/// A line on standard error. Nobody may be listening there, and that is his choice.
fn say(text: &impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Columns of text, each as wide as its widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("   ").trim_end().to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["MODULE".to_owned(), "READY".to_owned()], vec!["a".to_owned(), "1".to_owned()]];
        assert_eq!(table(&rows), "MODULE   READY\na        1");
    }
}

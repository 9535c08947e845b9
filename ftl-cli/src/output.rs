//! The only place that prints: data on standard output, everything else on standard error.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is where printing is")]

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
    pub(crate) fn data(self, value: &Value) {
        line(&value.to_string());
    }

    /// A result: text for people, an object for programs.
    pub(crate) fn result(self, text: &str, value: &Value) {
        match self.format {
            Format::Text => line(text),
            Format::Json => line(&value.to_string()),
        }
    }

    /// What is going on, for people; nothing for programs.
    pub(crate) fn note(self, text: &str) {
        if self.format == Format::Text {
            eprintln!("{text}");
        }
    }

    /// What went wrong.
    pub(crate) fn error(self, error: &CliError) {
        if let Some(data) = &error.data {
            self.data(data);
        }
        match self.format {
            Format::Text => eprintln!("{error}"),
            Format::Json => eprintln!("{}", error.to_json()),
        }
    }
}

fn line(text: &str) {
    let mut stdout = io::stdout().lock();
    // Whoever reads us may have enough: `ftl logs | head` is no error.
    let _ = writeln!(stdout, "{text}");
    let _ = stdout.flush();
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

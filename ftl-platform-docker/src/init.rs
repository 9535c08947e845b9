//! What the engine's init process says of the end of its program.
//!
//! To Docker an exit with code 137 and an end by signal 9 are one number. Its init process knows better, and writes it
//! as its last line of standard output when it is told to be talkative. Nobody else is to see what it says.

/// How each of its lines begins; it is process 1.
const BEGIN: &str = "[INFO  tini (1)] ";

/// What it says.
const SAYS: [&str; 2] = ["Spawned child process ", "Main child exited "];

/// How much of a line of standard output is the program's, if not all of it is.
pub(crate) fn before(line: &str) -> Option<usize> {
    let at = line.find(BEGIN)?;
    let said = &line[at + BEGIN.len()..];
    SAYS.iter().any(|says| said.starts_with(says)).then_some(at)
}

/// The code with which the program ended, if that is what a line says.
pub(crate) fn exit_code(line: &str) -> Option<i32> {
    let (_, said) = line.split_once(BEGIN)?;
    said.strip_prefix("Main child exited normally (with status '")?.strip_suffix("')")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exit_with_a_code_has_one() {
        assert_eq!(exit_code("[INFO  tini (1)] Main child exited normally (with status '137')"), Some(137));
        assert_eq!(exit_code("[INFO  tini (1)] Main child exited with signal (with signal 'Killed')"), None);
        assert_eq!(exit_code("Main child exited normally (with status '137')"), None);
        assert_eq!(before("[INFO  tini (1)] Spawned child process '/ftl' with pid '7'"), Some(0));
        assert_eq!(before("no end[INFO  tini (1)] Spawned child process '/ftl' with pid '7'"), Some(6));
        assert_eq!(before("my own [INFO  tini (1)] "), None);
    }
}

//! `ftl build --static`: everything in the program, for this machine's own triple too.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use tests::Sandbox;
use tests::project::{TICKER, workspace};

/// A cargo that knows everything of a project, and instead of building it notes what it was asked for.
const CARGO: &str = "#!/bin/sh
[ \"$1\" = build ] || exec cargo \"$@\"
printf '%s\\n' \"$@\" > \"$0.asked\"
exit 1
";

#[test]
fn cargo_is_asked_for_a_program_that_needs_no_library() {
    let sandbox = Sandbox::new();
    let (cargo, folder) = (sandbox.path("cargo"), sandbox.path("project"));
    fs::write(&cargo, CARGO).unwrap();
    fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    let sandbox = sandbox.with("CARGO", cargo.to_str().unwrap());
    workspace(&folder, &[("small", TICKER)]);
    let target = sandbox.target();
    let asked = |options: &[&str]| {
        let arguments = [&["build", folder.to_str().unwrap()], options].concat();
        let answer = sandbox.run(&arguments).expect(1);
        assert!(answer.says("the modules do not compile"), "{answer:?}");
        fs::read_to_string(sandbox.path("cargo.asked"))
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let plain = asked(&[]);
    assert!(!plain.iter().any(|argument| argument == "--target" || argument == "--config"), "{plain:?}");

    // The triple must be named: without it the flags would reach macros, which cannot be static.
    let of_static = |target: &str| {
        let config = format!("target.{target}.rustflags=[\"-C\",\"target-feature=+crt-static\"]");
        ["--target".to_owned(), target.to_owned(), "--config".to_owned(), config]
    };
    let has = |asked: &[String], wanted: &[String]| asked.windows(wanted.len()).any(|part| part == wanted);
    let own = asked(&["--static"]);
    assert!(has(&own, &of_static(target.as_str())), "{own:?}");
    let other = asked(&["--static", "--release", "--target", "aarch64-unknown-linux-gnu"]);
    assert!(has(&other, &of_static("aarch64-unknown-linux-gnu")), "{other:?}");
    assert!(other.contains(&"--release".to_owned()), "{other:?}");
    sandbox.finish();
}

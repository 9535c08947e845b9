//! The probe as a program of its own, for this crate's tests; `ftl probe` is the same.

fn main() -> std::process::ExitCode {
    ftl_platform_conformance::probe::main()
}

//! The binary of the module `clock`.

fn main() -> std::process::ExitCode {
    ftl::serve(clock::MODULE)
}

//! The binary of the module `heavy`.

fn main() -> std::process::ExitCode {
    ftl::serve(heavy::MODULE)
}

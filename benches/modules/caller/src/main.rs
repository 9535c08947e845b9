//! The binary of the module `caller`.

fn main() -> std::process::ExitCode {
    ftl::serve(caller::MODULE)
}

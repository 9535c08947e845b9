//! The binary of the module `echo`.

fn main() -> std::process::ExitCode {
    ftl::serve(echo::MODULE)
}

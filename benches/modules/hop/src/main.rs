//! The binary of the module `hop`.

fn main() -> std::process::ExitCode {
    ftl::serve(hop::MODULE)
}

//! The binary of the module `counter`.

fn main() -> std::process::ExitCode {
    ftl::serve(counter::MODULE)
}

//! The binary of the module `greeter`. It contains the types of `clock`, and none of its verbs.

fn main() -> std::process::ExitCode {
    ftl::serve(greeter::MODULE)
}

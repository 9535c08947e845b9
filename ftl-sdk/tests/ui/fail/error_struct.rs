// An error is an enum.
#[ftl::error]
#[error("empty name")]
pub struct Empty;

fn main() {}

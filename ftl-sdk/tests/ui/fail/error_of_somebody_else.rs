// What an error contains crosses the wire with it.
#[ftl::error]
pub enum ReadError {
    #[error("no number")]
    NoNumber(#[from] std::num::ParseIntError),
}

fn main() {}

// What an error contains crosses the wire with it.
#[ftl::error]
pub enum ReadError {
    #[error("cannot read")]
    Io(#[from] std::io::Error),
}

fn main() {}

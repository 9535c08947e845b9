// Data and errors need no module around them.
#[ftl::data]
pub struct Shared {
    pub next: Option<Box<Self>>,
    pub all: Vec<Shared>,
}

#[ftl::error]
pub enum SharedError {
    #[error("{0:?}")]
    Wrong(Shared),
}

fn main() {
    let shared = Shared { next: None, all: Vec::new() };
    assert_eq!(shared, shared.clone());
}

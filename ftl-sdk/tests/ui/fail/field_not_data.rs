// What is in data is data.
#[ftl::data]
pub struct Started {
    pub at: std::time::Instant,
}

fn main() {}

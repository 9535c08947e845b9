// Data has no generic parameters yet.
#[ftl::data]
pub struct Page<T> {
    pub items: Vec<T>,
}

#[ftl::data]
pub struct Borrowed<'a> {
    pub text: &'a str,
}

fn main() {}

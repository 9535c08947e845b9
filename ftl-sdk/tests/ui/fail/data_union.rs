// A union does not say what it holds.
#[ftl::data]
pub union Bits {
    pub number: u32,
    pub float: f32,
}

fn main() {}

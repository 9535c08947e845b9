// A value without a name cannot be left out.
#[ftl::data]
pub struct Pair(pub u8, #[serde(default)] pub u8);

fn main() {}

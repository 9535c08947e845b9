// Verbs are functions, data are types.
#[ftl::verb]
pub struct Greet;

#[ftl::data]
pub fn greet() {}

fn main() {}

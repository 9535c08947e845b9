// A verb is a plain async function.
ftl::module! { verbs: [one, two] }

#[ftl::verb]
pub async unsafe fn one() {}

#[ftl::verb]
pub async extern "C" fn two() {}

fn main() {}

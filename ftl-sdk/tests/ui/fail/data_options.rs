// The options of data are few.
#[ftl::data(export)]
pub struct One;

#[ftl::data(name = "not a name")]
pub struct Two;

#[ftl::data(manual(Hash))]
pub struct Three;

fn main() {}

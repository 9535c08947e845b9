// A module knows the key `verbs`.
ftl::module! { functions: [greet] }

fn main() {}

// Traits that say nothing secret are the user's to write.
use std::fmt;

#[ftl::data(manual(Debug, PartialEq), name = "Login")]
#[derive(Hash)]
pub struct Credentials {
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

fn main() {}

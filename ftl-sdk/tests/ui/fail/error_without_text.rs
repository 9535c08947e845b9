// Every variant says what happened.
#[ftl::error]
pub enum GreetError {
    Empty,
}

fn main() {}

// An error has one place for the failure of a call.
#[ftl::error]
pub enum GreetError {
    #[error("{0}")]
    Down(#[failure] ftl::Failure),
    #[error("{0}")]
    AlsoDown(#[failure] ftl::Failure),
}

#[ftl::error]
pub enum AskError {
    #[error("{0} of {1}")]
    Down(#[failure] ftl::Failure, u8),
}

fn main() {}

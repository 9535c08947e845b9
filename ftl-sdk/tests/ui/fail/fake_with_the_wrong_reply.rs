// A fake answers what the verb answers.
fn main() {
    let _: ftl::Client<clock::now> = ftl::Client::fake(|()| async { Ok("seven o'clock".to_owned()) });
}

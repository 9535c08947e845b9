// A verb and its type share one name; locals of that name are fine.
use clock::now;

async fn call(now: ftl::Client<now>) -> bool {
    now.call(()).await.is_ok()
}

async fn function() {
    let answer = now().await;
    let now = answer;
    match now {
        now => drop(now),
    }
}

fn main() {
    let _ = (call(ftl::Client::broken(ftl::Code::Unavailable)), function());
}

//! Changes, asked for as a client does.

use ftl_client::Client;
use ftl_core::Operator;
use ftl_core::controller::{ChangeSpec, ChangeState, ChangeStatus, Wanted};

/// Asks for a change of one module under this request, and waits for what becomes of it.
pub async fn change(client: &Client, request: &str, wanted: Wanted) -> ChangeStatus {
    let change = client.apply(ChangeSpec::new(request.parse().unwrap(), vec![wanted])).await.unwrap();
    let mut seen = 0;
    loop {
        let status = client.change_status(change, seen).await.unwrap();
        if status.state != ChangeState::Rolling {
            return status;
        }
        seen = status.seen;
    }
}

//! A server that dies of a user named mallory: what becomes of a replay then is tested with it.

use symple_tokio::{AuthDecision, ServerBuilder};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = format!("127.0.0.1:{}", std::env::var("PORT")?);
    let server = ServerBuilder::new().bind(address).authenticate(|request| async move {
        if request.user() == "mallory" {
            std::process::exit(3);
        }
        // Anyone may be anyone, for once.
        AuthDecision::allow_claimed()
    });
    server.start()?.wait().await?;
    Ok(())
}

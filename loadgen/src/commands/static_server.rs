//! A static HTTP server on may_minihttp, which `calibrate` starts in a separate process and loads.
//! It answers every GET with the same 2 KB body, and /ping with OK.
//!
//! Must not: listen beyond loopback.

use std::io;
use std::sync::Arc;

use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};

use crate::input::{Error, fail};

/// The hidden command that runs it.
pub(crate) const COMMAND: &str = "static-server";

/// The body of every response.
#[derive(Clone)]
struct Static(Arc<Vec<u8>>);

impl HttpServiceFactory for Static {
    type Service = Self;

    fn new_service(&self, _id: usize) -> Self {
        self.clone()
    }
}

impl HttpService for Static {
    fn call(
        &mut self,
        request: Request<'_, '_, '_>,
        response: &mut Response<'_>,
    ) -> io::Result<()> {
        if request.path() == "/ping" {
            response.body("OK");
        } else {
            response.header("Content-Type: application/json; charset=utf-8");
            response.body_vec(self.0.to_vec());
        }
        Ok(())
    }
}

/// Serves until the process is killed.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) fn serve(address: &str) -> Result<u8, Error> {
    may::config().set_worker_pin(false);
    may::config().set_workers(2);
    let server = Static(Arc::new(body()))
        .start(address)
        .or_else(|error| fail(format!("{address}: {error}; name another --http")))?;
    server.join().or_else(|_| fail("the static server panicked"))?;
    Ok(0)
}

/// The body of a lookup with ten producers.
fn body() -> Vec<u8> {
    let producer = |id: u32| {
        let host = crate::model::plan::Plan::host(id);
        format!(
            r#"{{"remote_address":"127.0.0.1:{}",{}"#,
            50_000 + id,
            &testkit::wire::peer_info(&host, &host)[1..]
        )
    };
    let producers: Vec<_> = (0..10).map(producer).collect();
    format!(r#"{{"channels":["channel-0","channel-1"],"producers":[{}]}}"#, producers.join(","))
        .into_bytes()
}

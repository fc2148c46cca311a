//! A static HTTP server on may_minihttp, in a process of its own: what the generator is measured
//! against. It answers every GET with the same 2 KB body and /ping with OK.
//!
//! Must not: be mistaken for a lookupd, or listen beyond loopback.

use std::io;

use may_minihttp::{HttpService, HttpServiceFactory, Request, Response};

use crate::input::{Refused, refuse};

/// The hidden command that runs it.
pub(crate) const COMMAND: &str = "static-server";

struct Static {
    body: std::sync::Arc<Vec<u8>>,
}

struct Factory {
    body: std::sync::Arc<Vec<u8>>,
}

impl HttpServiceFactory for Factory {
    type Service = Static;

    fn new_service(&self, _id: usize) -> Static {
        Static { body: std::sync::Arc::clone(&self.body) }
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
            response.body_vec(self.body.to_vec());
        }
        Ok(())
    }
}

/// Serves until the process is killed.
///
/// # Errors
/// When the address cannot be listened on.
pub(crate) fn serve(address: &str) -> Result<u8, Refused> {
    may::config().set_worker_pin(false);
    may::config().set_workers(2);
    let factory = Factory { body: std::sync::Arc::new(body()) };
    let server = match factory.start(address) {
        Ok(server) => server,
        Err(error) => return refuse(format!("{address}: {error}; name another --http")),
    };
    match server.join() {
        Ok(()) => Ok(0),
        Err(_) => refuse("the static server panicked"),
    }
}

/// A lookup's answer with ten producers.
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

//! `may_minihttp` answering every request with the same body.

use std::io;

use may_minihttp::{HttpServer, HttpService, Request, Response};

#[derive(Clone)]
struct Static(&'static str);

impl HttpService for Static {
    fn call(
        &mut self,
        _request: Request<'_, '_, '_>,
        response: &mut Response<'_>,
    ) -> io::Result<()> {
        response.header("Content-Type: application/json; charset=utf-8");
        response.header("X-Nsq-Content-Type: nsq; version=1.0");
        response.body(self.0);
        Ok(())
    }
}

/// Serves a body of `size` bytes, forever, on as many workers as there are cores.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) fn serve(address: &str, size: usize) -> io::Result<()> {
    may::config().set_worker_pin(false);
    let body = Static(Box::leak("x".repeat(size).into_boxed_str()));
    let server = HttpServer(body).start(address)?;
    server.join().map_err(|_| io::Error::other("the server died"))
}

//! A bare glommio loop, a task per connection, answering every line with a framed `OK`.

use std::io;

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};

use super::OK;

/// Serves on one executor, forever.
///
/// # Errors
/// When the executor cannot be made or the address cannot be bound.
pub(crate) fn serve(address: &str) -> io::Result<()> {
    let address = address.to_owned();
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .ring_depth(4096)
        .io_memory(64 * 1024)
        .spawn(move || async move {
            let listener = TcpListener::bind(address)?;
            loop {
                glommio::spawn_local(answer(listener.accept().await?)).detach();
            }
        })
        .map_err(|error| io::Error::other(error.to_string()))?;
    executor.join().map_err(|error| io::Error::other(error.to_string()))?
}

async fn answer(mut stream: TcpStream) {
    let mut scratch = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut scratch).await {
        let lines = scratch[..read].iter().filter(|&&byte| byte == b'\n').count();
        if stream.write_all(&OK.repeat(lines)).await.is_err() {
            return;
        }
    }
}

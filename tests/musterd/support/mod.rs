//! What every test of the daemon needs: the process, and the clients of the kit.

mod daemon;

pub(crate) use daemon::{ANYWHERE, Daemon, command, command_by, listening_ports, run};
pub(crate) use testkit::{DEADLINE, HttpClient, Nsqd, Response};

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use musterd::clock::Clock;

/// Connects from an address of this host's own; any of 127.0.0.0/8 is one.
pub(crate) fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let stream = try_connect_from(source, to).expect("the daemon accepts");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

/// The same, where the daemon may be too busy.
pub(crate) fn try_connect_from(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::new(source, 0))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// Waits until `check` returns something, and returns that.
pub(crate) fn eventually<T>(what: &str, check: impl FnMut() -> Option<T>) -> T {
    eventually_within(DEADLINE, what, check)
}

/// [`eventually`], for what takes longer.
pub(crate) fn eventually_within<T>(
    limit: Duration,
    what: &str,
    mut check: impl FnMut() -> Option<T>,
) -> T {
    let clock = Clock::system();
    let deadline = clock.now() + limit;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(clock.now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

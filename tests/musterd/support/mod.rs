//! What every test of the daemon needs: the process, an nsqd's side and a consumer's side.

mod daemon;
mod http;
mod nsqd;

pub(crate) use daemon::{ANYWHERE, Daemon, command, command_by, listening_ports, run};
pub(crate) use http::{Answer, Http};
pub(crate) use nsqd::Nsqd;

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use musterd::clock::Clock;

/// How long anything may take before a test fails. No test passes because of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Connects from an address of this host's own; any of 127.0.0.0/8 is one.
pub(crate) fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::new(source, 0)).expect("an address of this host");
    connect(&socket, &to).expect("the daemon accepts");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// What `look` finds, once it finds something.
pub(crate) fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, look)
}

/// [`eventually`], for what takes its time.
pub(crate) fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let clock = Clock::system();
    let deadline = clock.now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

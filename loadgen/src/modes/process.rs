//! The target's process: started by a given command, killed and started again, found by its id.
//!
//! Must not: touch a process that this program did not start, but for reading its /proc.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use musterd::clock::Clock;

use crate::input::target::Target;
use crate::input::{Refused, refuse};

/// How long a started target may take to answer /ping.
const START: Duration = Duration::from_secs(10);
/// How long one question to it may take.
const ASK: Duration = Duration::from_secs(2);

/// A started target; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    words: Vec<String>,
    target: Target,
    child: Option<Child>,
}

impl Process {
    /// Starts `template`, in which `{tcp}` and `{http}` stand for the target's addresses, and
    /// waits until it answers.
    ///
    /// # Errors
    /// When it is no command, does not start, or does not answer within ten seconds.
    pub(crate) fn start(template: &str, target: Target) -> Result<Self, Refused> {
        let command = template
            .replace("{tcp}", &target.tcp.to_string())
            .replace("{http}", &target.http.to_string());
        let words = words(&command)?;
        let mut process = Self { words, target, child: None };
        process.spawn()?;
        Ok(process)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Kills it, as a crash would.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way it is gone afterwards.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again without waiting for it.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn spawn_again(&mut self) -> Result<(), Refused> {
        let (program, arguments) = self.words.split_first().expect("start() refused an empty one");
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match child {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                return refuse(format!("cannot start {program}: {error}; check --server-cmd"));
            }
        }
        Ok(())
    }

    fn spawn(&mut self) -> Result<(), Refused> {
        if get(self.target.http, "/ping").is_some() {
            let http = self.target.http;
            return refuse(format!(
                "{http} is in use already; stop what listens there or name other ports"
            ));
        }
        self.spawn_again()?;
        let clock = Clock::system();
        let limit = clock.now() + START;
        while clock.now() < limit {
            if get(self.target.http, "/ping").is_some() {
                return Ok(());
            }
            if let Some(Ok(Some(status))) = self.child.as_mut().map(Child::try_wait) {
                return refuse(format!(
                    "`{}` ended at once: {status}; try it by hand",
                    self.words.join(" ")
                ));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        refuse(format!(
            "`{}` does not answer http://{}/ping after {} s; does it listen on {{tcp}} and {{http}}?",
            self.words.join(" "),
            self.target.http,
            START.as_secs()
        ))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Two free ports of loopback, below those that the system gives to clients.
///
/// # Errors
/// When none is free.
pub(crate) fn free_ports() -> Result<(SocketAddr, SocketAddr), Refused> {
    let free = |port: u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        std::net::TcpListener::bind(address).is_ok().then_some(address)
    };
    // Processes that look at the same time begin at different places.
    let first = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    let mut found = (first..32_000).filter_map(free);
    match (found.next(), found.next()) {
        (Some(tcp), Some(http)) => Ok((tcp, http)),
        _ => {
            refuse("no two free ports between 20,000 and 32,000 on 127.0.0.1; stop what holds them")
        }
    }
}

/// The body of `path` at `http`, when it answers 200.
pub(crate) fn get(http: SocketAddr, path: &str) -> Option<String> {
    ask(http, "GET", path)
}

/// The body of what `method` on `path` answers, when it answers 200.
pub(crate) fn ask(http: SocketAddr, method: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&http, ASK).ok()?;
    stream.set_read_timeout(Some(ASK)).ok()?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    let mut response = crate::actors::response::Response::new();
    let mut scratch = [0; 4096];
    while answer.len() < 65_536 {
        let count = stream.read(&mut scratch).ok()?;
        answer.extend_from_slice(&scratch[..count]);
        let done = response.feed(&scratch[..count]).ok()?.is_some();
        if done || count == 0 && response.close() {
            break;
        }
        if count == 0 {
            return None;
        }
    }
    (response.status == 200).then(|| String::from_utf8_lossy(&response.body).into_owned())
}

/// Splits a command line at spaces, with single and double quotes.
fn words(command: &str) -> Result<Vec<String>, Refused> {
    let (mut words, mut word, mut quote, mut inside) = (Vec::new(), String::new(), None, false);
    for letter in command.chars() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (None, '\'' | '"') => (quote, inside) = (Some(letter), true),
            (None, ' ' | '\t' | '\n') => {
                if std::mem::take(&mut inside) {
                    words.push(std::mem::take(&mut word));
                }
            }
            _ => {
                word.push(letter);
                inside = true;
            }
        }
    }
    if inside {
        words.push(word);
    }
    if quote.is_some() || words.is_empty() {
        return refuse(format!(
            "`{command}` is no command; give 'nsqlookupd -tcp-address {{tcp}} -http-address {{http}}'"
        ));
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_split_into_words() {
        let cases: [(&str, &[&str]); 3] = [
            ("a -b  c", &["a", "-b", "c"]),
            ("'a b' \"c 'd'\" e=''", &["a b", "c 'd'", "e="]),
            (" a '' ", &["a", ""]),
        ];
        for (text, want) in cases {
            assert_eq!(words(text).expect(text), want, "{text}");
        }
        for text in ["", "  ", "a 'b"] {
            assert!(words(text).expect_err(text).to_string().contains("{tcp}"), "{text}");
        }
    }
}

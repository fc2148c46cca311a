//! Every recorded HTTP session with nsqlookupd v1.3.0, replayed without sockets: whole, byte by
//! byte, and pipelined on as few connections as possible.

use std::collections::BTreeMap;

use testkit::Response;
use testkit::corpus::{self, ADMIN, Addresses, Case, EMPTY, ERRORS, PACES, Pace, cases, replay};

use super::server::{HttpClient, Server};
use crate::registry::Client;

/// A server with the nsqds that are connected to it.
struct Fleet {
    server: Server,
    clients: BTreeMap<String, Client>,
}

impl Fleet {
    fn new() -> Self {
        Self { server: Server::new(), clients: BTreeMap::new() }
    }
}

/// One connection, and how much of its output has been compared.
struct Connection<'a> {
    server: &'a mut Server,
    client: HttpClient,
    read: usize,
}

impl corpus::Connection for Connection<'_> {
    fn send(&mut self, bytes: &[u8], pace: Pace) {
        let piece = if pace == Pace::ByteByByte { 1 } else { bytes.len() };
        bytes.chunks(piece).for_each(|piece| self.client.send(self.server, piece));
    }

    fn finish(&mut self) {
        self.client.end(self.server);
    }

    fn response(&mut self, to_head: bool) -> Response {
        let mut left = &self.client.output[self.read..];
        let response = Response::read(&mut left, to_head).expect("a response");
        self.read = self.client.output.len() - left.len();
        response
    }

    fn rest(&mut self) -> Option<Vec<u8>> {
        self.client.closed.then(|| self.client.output[self.read..].to_vec())
    }

    fn is_open(&mut self, _: &Case) -> bool {
        !self.client.closed && self.read == self.client.output.len()
    }
}

impl corpus::Server for Fleet {
    fn play(&mut self, cases: &[Case], pace: Pace, addresses: &Addresses) {
        let connection =
            &mut Connection { server: &mut self.server, client: HttpClient::new(), read: 0 };
        corpus::check(connection, cases, pace, addresses);
    }

    fn join(&mut self, name: &str, address: &str, commands: &[&str]) -> String {
        let client = self.server.join(name, address);
        self.clients.insert(name.to_owned(), client);
        commands.iter().for_each(|command| self.command(name, command));
        address.to_owned()
    }

    fn command(&mut self, name: &str, command: &str) {
        let client = self.clients.get_mut(name).expect("joined");
        let words: Vec<_> = command.split(' ').collect();
        match words[..] {
            ["REGISTER", topic] => self.server.register(client, topic, None),
            ["REGISTER", topic, channel] => self.server.register(client, topic, Some(channel)),
            ["UNREGISTER", topic] => self.server.unregister(client, topic, None),
            ["UNREGISTER", topic, channel] => self.server.unregister(client, topic, Some(channel)),
            _ => panic!("{command} is not of the corpus"),
        }
    }

    fn leave(&mut self, name: &str) {
        self.server.leave(self.clients.remove(name).expect("joined"));
    }
}

#[test]
fn http_reads_are_answered_as_recorded() {
    PACES.iter().for_each(|pace| replay(&mut Fleet::new(), &cases(EMPTY), &[], *pace));
}

#[test]
fn http_errors_are_answered_as_recorded() {
    PACES.iter().for_each(|pace| replay(&mut Fleet::new(), &cases(ERRORS), &[], *pace));
}

#[test]
fn admin_requests_are_answered_as_recorded() {
    PACES.iter().for_each(|pace| replay(&mut Fleet::new(), &cases(ADMIN), &[], *pace));
}

#[test]
fn requests_are_answered_as_recorded_while_nsqds_come_and_go() {
    let (cases, events) = corpus::with_producers();
    PACES.iter().for_each(|pace| replay(&mut Fleet::new(), &cases, &events, *pace));
}

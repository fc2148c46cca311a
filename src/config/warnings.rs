//! Settings that are accepted, as NSQ accepts them, and may not do what the operator meant: each with
//! what will happen.
//!
//! Must not: refuse anything, or log. Runs on the main thread, at start; [`of_broadcast_address`] on a
//! thread that may wait for the resolver.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::time::Duration;

use super::flags::{FLAGS, Kind};
use super::values::Values;
use super::{Config, HttpEngine, unknown_keys};
use crate::logging::Quoted;

/// How often an nsqd sends a PING. Source: NSQ's `nsqd/lookup.go`, where it is a constant.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long go-nsq keeps a connection that it does not use. Source: go-nsq's `api_request.go`.
const CLIENT_IDLE: Duration = Duration::from_secs(90);
/// A handshake timeout below this is less than a slow link takes.
const HANDSHAKE_SHORT: Duration = Duration::from_secs(1);

/// What is odd about the settings.
pub(super) fn all(values: &Values, config: &Config) -> Vec<String> {
    let times = times(config).into_iter();
    let addresses = ["tcp-address", "http-address"].into_iter();
    let addresses = addresses.filter_map(|flag| no_port(flag, values.text(flag)?));
    let unused = config.http_engine == HttpEngine::Minihttp && values.is_given("http-idle-timeout");
    let unused = unused.then(|| "--http-idle-timeout does nothing with minihttp".to_owned());
    times.chain(addresses).chain(empty(values)).chain(unused).collect()
}

/// Times that are shorter than what they wait for.
fn times(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    let timeout = config.inactive_producer_timeout;
    if timeout < HEARTBEAT * 2 {
        let when = if timeout <= HEARTBEAT { "between two PINGs" } else { "when one PING is late" };
        warnings.push(format!(
            "--inactive-producer-timeout is {timeout:?}, less than two of nsqd's heartbeats (30 s): \
             live producers will be missing in answers {when}"
        ));
    }
    if config.tombstone_lifetime.is_zero() {
        warnings.push("--tombstone-lifetime is 0: a tombstone will hide nothing".to_owned());
    }
    if config.handshake_timeout < HANDSHAKE_SHORT {
        warnings.push(format!(
            "--handshake-timeout is {:?}: nsqds that take longer to connect and IDENTIFY will be \
             closed again and again",
            config.handshake_timeout
        ));
    }
    if config.http_idle_timeout <= CLIENT_IDLE {
        warnings.push(format!(
            "--http-idle-timeout is {:?}, and clients keep their connections for as long (go-nsq: \
             90 s) or longer: a request can meet the close and fail",
            config.http_idle_timeout
        ));
    }
    warnings
}

/// An address that leaves the port to the system, as an unset variable does.
fn no_port(flag: &str, address: &str) -> Option<String> {
    let has_port = address.ends_with(|c: char| c.is_ascii_digit());
    let warning = || format!("--{flag} {} has no port: it will be any free one", Quoted(address));
    (!has_port).then(warning)
}

/// Flags with an empty value, as an unset variable leaves it, which then do nothing.
fn empty(values: &Values) -> impl Iterator<Item = String> {
    let config = values.command_line.get("config").and_then(|texts| texts.last());
    let config = config.filter(|path| path.is_empty());
    let no_file = config.map(|_| "--config is empty: no configuration file is read".to_owned());
    let rules = FLAGS.iter().filter(|flag| flag.access_rule).filter_map(|flag| {
        let is_empty = match flag.kind {
            Kind::Networks => values.list::<crate::access::Network>(flag.name).is_empty(),
            Kind::Text(_) => values.words(flag.name).is_empty(),
            _ => false,
        };
        let is_unset = values.is_given(flag.name) && is_empty;
        is_unset.then(|| format!("--{} is empty: there is no such rule", flag.name))
    });
    no_file.into_iter().chain(rules)
}

/// The words of the command line that are not read.
///
/// # Errors
/// When one of them is, or could be, an access rule: without it everyone would be let in.
pub(super) fn unread(words: &[String]) -> Result<Option<String>, String> {
    let Some(first) = words.first() else { return Ok(None) };
    let stopped = format!("{} on the command line is no flag", Quoted(first));
    let flags = words.iter().filter(|word| word.starts_with('-'));
    let mut names = flags.map(|word| word.split_once('=').map_or(&**word, |(name, _)| name));
    if let Some(name) = names.find(|name| unknown_keys::is_like_access_rule(name)) {
        return Err(format!(
            "{} will not be read, since {stopped}; write a boolean's value behind `=`",
            Quoted(name)
        ));
    }
    Ok(Some(match words.len() - 1 {
        0 => format!("{stopped}; it is ignored"),
        1 => format!("{stopped}; it and the word behind it are ignored"),
        more => format!("{stopped}; it and the {more} words behind it are ignored"),
    }))
}

/// What nsqds will do with a broadcast address that leads to no host, as far as this host can tell.
/// Asks the resolver. Source: NSQ's `nsqd/lookup.go` and `nsqd/nsqd.go`.
#[must_use]
pub fn of_broadcast_address(address: &str) -> Option<String> {
    let reason = if address.is_empty() {
        "is empty".to_owned()
    } else {
        match (address, 0).to_socket_addrs().map(|mut found| found.next()) {
            Ok(Some(found)) if !is_nowhere(found.ip()) => return None,
            Ok(Some(_)) => format!("{} is no address of one host", Quoted(address)),
            Ok(None) => format!("{} has no address", Quoted(address)),
            Err(error) => format!("{} cannot be resolved here ({error})", Quoted(address)),
        }
    };
    Some(format!(
        "--broadcast-address {reason}: nsqds will not find this daemon's HTTP port, and will not \
         create the channels that a new topic has here; until a consumer comes, these get no messages"
    ))
}

fn is_nowhere(address: IpAddr) -> bool {
    address.is_unspecified() || address.is_multicast()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::Exit;
    use super::*;

    fn warnings(words: &[&str]) -> Vec<String> {
        Config::from_args(words.iter().map(OsString::from)).unwrap().1
    }

    #[test]
    fn odd_settings_are_warned_of_with_what_will_happen() {
        for (words, want) in [
            (&["-inactive-producer-timeout=6s"][..], "is 6s, less than two of nsqd's heartbeats"),
            (&["-inactive-producer-timeout=15s"], "missing in answers between two PINGs"),
            (&["-inactive-producer-timeout=29999ms"], "missing in answers when one PING is late"),
            (&["-tombstone-lifetime=0"], "a tombstone will hide nothing"),
            (&["-handshake-timeout=10ms"], "--handshake-timeout is 10ms: nsqds that take longer"),
            (&["-http-idle-timeout=90s"], "--http-idle-timeout is 90s, and clients keep"),
            (
                &["-http-idle-timeout=2m", "-http-engine=minihttp"],
                "--http-idle-timeout does nothing with minihttp",
            ),
            (&["-tcp-address="], "--tcp-address \"\" has no port: it will be any free one"),
            (&["-http-address=127.0.0.1:"], "--http-address \"127.0.0.1:\" has no port"),
            (&["-config="], "--config is empty: no configuration file is read"),
            (&["-http-host="], "--http-host is empty: there is no such rule"),
            (&["-http-origin-allow", " , "], "--http-origin-allow is empty: there is no such rule"),
            (&["word"], "\"word\" on the command line is no flag; it is ignored"),
            (&["word", "-nope"], "is no flag; it and the word behind it are ignored"),
            (
                &["-verbose", "true", "-shards", "3"],
                "\"true\" on the command line is no flag; it and \
                the 2 words behind it are ignored",
            ),
        ] {
            let got = warnings(words);
            assert!(matches!(&got[..], [one] if one.contains(want)), "{words:?}: {got:#?}");
        }
    }

    #[test]
    fn usual_settings_have_no_warning() {
        for words in [
            &[][..],
            &["-inactive-producer-timeout=30s", "-tombstone-lifetime=1ns", "-handshake-timeout=1s"],
            &["-http-idle-timeout=91s"],
            &["-tcp-address=:0", "-http-address=[::1]:0", "--"],
            &["-tcp-allow=::1", "-http-host=a", "-http-origin-allow=https://a", "-verbose"],
        ] {
            assert!(warnings(words).is_empty(), "{words:?}");
        }
    }

    #[test]
    fn an_access_rule_that_would_not_be_read_is_an_error() {
        for words in [
            &["-verbose", "true", "-tcp-allow=::1"][..],
            &["x", "--http-write-token-file", "/file"],
            &["--", "--TCP_ALOW=::1"],
        ] {
            let error = Config::from_args(words.iter().map(OsString::from)).unwrap_err();
            let want = "will not be read, since ";
            assert!(matches!(&error, Exit::Config(e) if e.contains(want)), "{error:?}");
        }
        assert_eq!(warnings(&["x", "tcp-allow", "-shards=1"]).len(), 1);
    }

    #[test]
    fn a_broadcast_address_that_leads_nowhere_is_warned_of() {
        for (address, want) in [
            ("", "--broadcast-address is empty: nsqds will not find"),
            ("0.0.0.0", "\"0.0.0.0\" is no address of one host: "),
            ("::", "\"::\" is no address of one host: "),
            ("127.0.0.1:4161", "\"127.0.0.1:4161\" cannot be resolved here ("),
            ("[::1]", "\"[::1]\" cannot be resolved here ("),
            ("a b", "\"a b\" cannot be resolved here ("),
        ] {
            let warning = of_broadcast_address(address).expect(address);
            assert!(warning.contains(want), "{warning}");
        }
        for address in ["127.0.0.1", "::1", "192.0.2.1", "localhost"] {
            assert_eq!(of_broadcast_address(address), None);
        }
    }
}

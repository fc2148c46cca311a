//! `protocol::peer_info` against Go's rules on top of another JSON library.

use std::fmt;

use musterd::protocol::peer_info::PeerInfo;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// The members of a JSON object in their order, duplicates and all.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or null")
            }

            fn visit_unit<E>(self) -> Result<Members, E> {
                Ok(Members(Vec::new()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_any(InOrder)
    }
}

pub(crate) fn identity(data: &[u8]) {
    let got = PeerInfo::decode(data);
    if let Ok(identity) = &got {
        let mut body = b"{".to_vec();
        identity.write_fields(&mut body);
        body.push(b'}');
        assert_eq!(PeerInfo::decode(&body).as_ref(), Ok(identity), "its own encoding");
    }
    if let Some(text) = comparable(data) {
        assert_eq!(got.ok(), reference(text), "{text}");
    }
}

/// The body as text, unless it has what the two libraries may see differently, each with reason:
/// lone surrogates and depth (the reference refuses them), `-0` and numbers without end (it reads
/// them as floats, or not at all).
fn comparable(data: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(data).ok()?;
    let depth = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    let odd = text.contains("\\u") || text.contains("-0") || depth > 100;
    let digits = text.as_bytes().windows(19).any(|run| run.iter().all(u8::is_ascii_digit));
    let exponent = text.as_bytes().windows(2).any(|pair| {
        pair[0].eq_ignore_ascii_case(&b'e') && matches!(pair[1], b'0'..=b'9' | b'+' | b'-')
    });
    (!odd && !digits && !exponent).then_some(text)
}

/// Go's decoder into `PeerInfo`, then NSQ's check for missing fields.
fn reference(text: &str) -> Option<PeerInfo> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let mut identity = PeerInfo::default();
    for (key, value) in members {
        let key: String = key.chars().flat_map(fold).collect();
        match key.as_str() {
            "hostname" => string(&mut identity.hostname, &value)?,
            "broadcast_address" => string(&mut identity.broadcast_address, &value)?,
            "version" => string(&mut identity.version, &value)?,
            "remote_address" => string(&mut Box::default(), &value)?,
            "tcp_port" => int(&mut identity.tcp_port, &value)?,
            "http_port" => int(&mut identity.http_port, &value)?,
            "topology_zone" => optional(&mut identity.topology_zone, &value),
            "topology_region" => optional(&mut identity.topology_region, &value),
            _ => {}
        }
    }
    let complete = !identity.broadcast_address.is_empty()
        && !identity.version.is_empty()
        && identity.tcp_port != 0
        && identity.http_port != 0;
    complete.then_some(identity)
}

/// The letters that fold into ASCII: those, the long s and the Kelvin sign.
fn fold(letter: char) -> impl Iterator<Item = char> {
    match letter {
        '\u{17f}' => 's'.to_lowercase(),
        _ => letter.to_lowercase(),
    }
}

fn string(field: &mut Box<str>, value: &Value) -> Option<()> {
    match value {
        Value::String(text) => *field = text.as_str().into(),
        Value::Null => {}
        _ => return None,
    }
    Some(())
}

fn int(field: &mut i64, value: &Value) -> Option<()> {
    match value {
        Value::Number(number) => *field = number.as_i64()?,
        Value::Null => {}
        _ => return None,
    }
    Some(())
}

fn optional(field: &mut Option<Box<str>>, value: &Value) {
    if let Value::String(text) = value {
        *field = (!text.is_empty()).then(|| text.as_str().into());
    }
}

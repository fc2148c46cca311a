//! Query strings: the first value of a name, as Go's `url.ParseQuery` and NSQ's `ReqParams` see it.
//!
//! Must not: know which names mean what. Pure; any thread.

use std::borrow::Cow;

use super::percent::{Plus, unescape};

/// A query string that Go's `url.ParseQuery` refuses, wherever the fault stands: a malformed
/// escape or a `;`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The first value of each of `names` in `query`, `None` for a name that does not occur.
///
/// # Errors
/// [`Malformed`], also when the fault is in a pair nobody asked for.
pub fn first<'q, const N: usize>(
    query: &'q [u8],
    names: [&str; N],
) -> Result<[Option<Cow<'q, [u8]>>; N], Malformed> {
    let mut found = [const { None }; N];
    for pair in query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        if pair.contains(&b';') {
            return Err(Malformed);
        }
        let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let value = pair.get(equals + 1..).unwrap_or_default();
        let key = unescape(&pair[..equals], Plus::Space).ok_or(Malformed)?;
        let value = unescape(value, Plus::Space).ok_or(Malformed)?;
        if let Some(at) = names.iter().position(|name| name.as_bytes() == &*key) {
            found[at].get_or_insert(value);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, want: Result<Option<&str>, Malformed>) {
        let got = first(query.as_bytes(), ["topic"]);
        let got =
            got.map(|[topic]| topic.map(|topic| String::from_utf8_lossy(&topic).into_owned()));
        assert_eq!(got, want.map(|topic| topic.map(str::to_owned)), "{query}");
    }

    #[test]
    fn as_go_parses_them() {
        check("", Ok(None));
        check("topic", Ok(Some("")));
        check("topic=", Ok(Some("")));
        check("topic=a&topic=b", Ok(Some("a")));
        check("x=1&&topic=a=b&y", Ok(Some("a=b")));
        check("Topic=a", Ok(None));
        check("=a&topic=b", Ok(Some("b")));
        check("to%70ic=t%23ephemeral", Ok(Some("t#ephemeral")));
        check("topic=a+b%2Bc", Ok(Some("a b+c")));
        check("topic=%C3%A9", Ok(Some("é")));
        check("topic=a?b#c", Ok(Some("a?b#c")));
    }

    #[test]
    fn one_fault_spoils_the_whole() {
        for query in ["topic=%zz", "topic=a;b", "topic=a&;", "x=%&topic=a", "topic=a&%4=b"] {
            check(query, Err(Malformed));
        }
    }

    #[test]
    fn several_names_are_found_in_one_pass() {
        let found = first(b"node=n&channel=c&topic=t", ["topic", "channel", "missing"]);
        let [topic, channel, missing] = found.expect("well formed");
        assert_eq!((topic.as_deref(), channel.as_deref()), (Some(&b"t"[..]), Some(&b"c"[..])));
        assert_eq!(missing, None);
    }
}

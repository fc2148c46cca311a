//! Percent escapes, as Go's `net/url` undoes them.
//!
//! Must not: know where the text stood. Pure; any thread.

use std::borrow::Cow;

/// What a `+` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plus {
    /// Itself: in a path.
    Itself,
    /// A space: in a query.
    Space,
}

/// Undoes the escapes of `text`, borrowing it when there are none; `None` when one is malformed.
pub(super) fn unescape(text: &[u8], plus: Plus) -> Option<Cow<'_, [u8]>> {
    let special = |byte: &u8| *byte == b'%' || (*byte == b'+' && plus == Plus::Space);
    let Some(first) = text.iter().position(special) else {
        return Some(Cow::Borrowed(text));
    };
    let mut plain = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = match byte {
            b'%' => {
                let ([high, low], tail) = tail.split_first_chunk()?;
                (digit(*high)? << 4 | digit(*low)?, tail)
            }
            b'+' if plus == Plus::Space => (b' ', tail),
            byte => (byte, tail),
        };
        plain.push(byte);
        rest = tail;
    }
    Some(Cow::Owned(plain))
}

/// The value of one hexadecimal digit.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, plus: Plus, want: Option<&[u8]>) {
        assert_eq!(unescape(text.as_bytes(), plus).as_deref(), want, "{text}");
    }

    #[test]
    fn as_go_undoes_them() {
        check("", Plus::Space, Some(b""));
        check("a+b", Plus::Itself, Some(b"a+b"));
        check("a+b", Plus::Space, Some(b"a b"));
        check("%41%2b%fF%00", Plus::Space, Some(b"A+\xff\0"));
        check("t%23ephemeral", Plus::Itself, Some(b"t#ephemeral"));
        for broken in ["%", "%4", "a%zz", "%4g", "%%41", "%+1"] {
            check(broken, Plus::Itself, None);
        }
    }
}

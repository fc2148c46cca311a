//! JSON strings as Go's `encoding/json` writes them.
//!
//! Must not: know what the strings mean.

/// The hexadecimal digits of `\u00XX`.
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string, quotes included, with Go's escapes: `<`, `>`, `&`, U+2028 and
/// U+2029 too, and control characters but `\n`, `\r` and `\t` as `\u00XX` (Go 1.21).
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut plain = 0;
    let mut at = 0;
    while at < bytes.len() {
        let taken = escape(&bytes[at..], |escaped| {
            out.extend_from_slice(&bytes[plain..at]);
            out.extend_from_slice(escaped);
        });
        at += taken.unwrap_or(1);
        if taken.is_some() {
            plain = at;
        }
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// Appends `before`, a key with all that stands before its value, and `text` as a JSON string.
pub fn write_field(before: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(before.as_bytes());
    write_string(text, out);
}

/// If the first character of `bytes` needs an escape, calls `write` with it and returns how many
/// bytes the character takes.
fn escape(bytes: &[u8], write: impl FnOnce(&[u8])) -> Option<usize> {
    match bytes {
        [b'"', ..] => write(b"\\\""),
        [b'\\', ..] => write(b"\\\\"),
        [b'\n', ..] => write(b"\\n"),
        [b'\r', ..] => write(b"\\r"),
        [b'\t', ..] => write(b"\\t"),
        &[byte @ (0..=0x1f | b'<' | b'>' | b'&'), ..] => {
            let [high, low] = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            write(&[b'\\', b'u', b'0', b'0', high, low]);
        }
        &[0xe2, 0x80, last @ (0xa8 | 0xa9), ..] => {
            write(if last == 0xa8 { b"\\u2028" } else { b"\\u2029" });
            return Some(3);
        }
        _ => return None,
    }
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(text: &str) -> String {
        let mut out = Vec::new();
        write_string(text, &mut out);
        String::from_utf8(out).expect("escapes are ASCII")
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        let cases = [
            ("", r#""""#),
            ("plain é ÿ 𝄞 \u{fffd}\u{7f}", "\"plain é ÿ 𝄞 \u{fffd}\u{7f}\""),
            ("a\"b\\c/", r#""a\"b\\c/""#),
            ("\n\r\t\u{8}\u{c}\0\u{1f}", r#""\n\r\t\u0008\u000c\u0000\u001f""#),
            ("<&>", r#""\u003c\u0026\u003e""#),
            ("b\u{2028}\u{2029}\u{2027}x", "\"b\\u2028\\u2029\u{2027}x\""),
        ];
        for (text, want) in cases {
            assert_eq!(written(text), want);
        }
    }

    proptest! {
        #[test]
        fn serde_json_reads_the_same_text(text in any::<String>()) {
            prop_assert_eq!(serde_json::from_str::<String>(&written(&text)).expect("valid"), text);
        }
    }
}

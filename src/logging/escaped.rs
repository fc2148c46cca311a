//! Escapes text from peers for one log line: no control character is written.
//!
//! Must not: allocate, or change other characters. Runs on the thread that logs.

use std::fmt::{self, Write};

/// Displays the text with its control, line-separating and direction-changing characters escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| escape(f, c))
    }
}

/// Displays the text in double quotes, as Go's `%q` does.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                c => escape(f, c)?,
            }
        }
        f.write_char('"')
    }
}

/// Writes on what is written to it, escaped, up to a number of bytes; then an ellipsis and nothing
/// more.
pub(super) struct Escaping<'a, W: Write> {
    /// The destination.
    pub(super) to: &'a mut W,
    /// How many more bytes of text are written, counted before they are escaped. `None`: the ellipsis
    /// is written.
    pub(super) remaining: Option<usize>,
}

impl<W: Write> Write for Escaping<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let Some(remaining) = self.remaining else { return Ok(()) };
            self.remaining = remaining.checked_sub(c.len_utf8());
            match self.remaining {
                Some(_) => escape(self.to, c)?,
                None => self.to.write_char('…')?,
            }
        }
        Ok(())
    }
}

/// Writes `c`, or its escape sequence as Go writes it if it could end or disguise a line.
fn escape(to: &mut impl Write, c: char) -> fmt::Result {
    match c {
        '\u{7}' => to.write_str("\\a"),
        '\u{8}' => to.write_str("\\b"),
        '\u{c}' => to.write_str("\\f"),
        '\n' => to.write_str("\\n"),
        '\r' => to.write_str("\\r"),
        '\t' => to.write_str("\\t"),
        '\u{b}' => to.write_str("\\v"),
        '\0'..=' ' if c != ' ' => write!(to, "\\x{:02x}", u32::from(c)),
        '\u{7f}' => to.write_str("\\x7f"),
        // C1 controls; zero-width and direction marks; line and paragraph separators; the BOM.
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => write!(to, "\\u{:04x}", u32::from(c)),
        c => to.write_char(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_could_forge_a_line_are_escaped() {
        for (text, want) in [
            ("plain nsqd-a.example:4151", "plain nsqd-a.example:4151"),
            ("a\nb\r\n", "a\\nb\\r\\n"),
            ("\x1b[2J\0\x7f\t\u{7}\u{8}\u{b}\u{c}", "\\x1b[2J\\x00\\x7f\\t\\a\\b\\v\\f"),
            (
                "\u{85}\u{200b}\u{2028}\u{202e}\u{2066}\u{feff}",
                "\\u0085\\u200b\\u2028\\u202e\\u2066\\ufeff",
            ),
            ("é ☃ 漢 \u{fffd} \"q\" \\", "é ☃ 漢 \u{fffd} \"q\" \\"),
        ] {
            assert_eq!(Escaped(text).to_string(), want);
        }
    }

    #[test]
    fn strings_are_quoted_as_go_does() {
        for (text, want) in [
            ("", r#""""#),
            ("5é\nx", r#""5é\nx""#),
            (r#"a"b\c'd"#, r#""a\"b\\c'd""#),
            ("\0\x1b", r#""\x00\x1b""#),
        ] {
            assert_eq!(Quoted(text).to_string(), want);
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        for (limit, want) in
            [(0, "…"), (1, "a…"), (2, "a…"), (3, "aé…"), (4, "aé\\n"), (9, "aé\\n")]
        {
            let mut out = String::new();
            let mut writer = Escaping { to: &mut out, remaining: Some(limit) };
            for piece in ["a", "é\n"] {
                writer.write_str(piece).unwrap();
            }
            assert_eq!(out, want, "{limit}");
        }
    }
}

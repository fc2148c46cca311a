//! The bearer token of HTTP requests: `Authorization: Bearer TOKEN` (RFC 6750).
//!
//! Must not: show the token in an error, a log line or a `Debug` text. The main thread reads the
//! file once, at start; HTTP workers compare.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use constant_time_eq::constant_time_eq;

use crate::limits;
use crate::logging::Quoted;

/// The token's characters.
#[derive(Clone)]
pub struct Token(Box<[u8]>);

/// A token, and whether other users can read its file.
#[derive(Debug)]
pub struct TokenFile {
    /// The token in the file.
    pub token: Token,
    /// Every user of the machine may read the file.
    pub is_world_readable: bool,
}

/// Why a file gives no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenError {
    flag: &'static str,
    path: PathBuf,
    reason: String,
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string_lossy();
        write!(f, "--{} {}: {}", self.flag, Quoted(&path), self.reason)
    }
}

impl std::error::Error for TokenError {}

const EMPTY: &str = "it is empty, and a token is at least one character";
const TOO_LONG: &str = "a token is at most 1024 characters";
const NOT_VISIBLE: &str = "a token is one line of visible ASCII characters without spaces";

const _: () = assert!(limits::HTTP_TOKEN == 1024, "TOO_LONG names it");

impl Token {
    /// A token of these characters.
    ///
    /// # Errors
    /// What is wrong with them: there are none, more than [`limits::HTTP_TOKEN`], or others than visible ASCII.
    pub fn new(token: &[u8]) -> Result<Self, &'static str> {
        match token {
            [] => Err(EMPTY),
            _ if token.len() > limits::HTTP_TOKEN => Err(TOO_LONG),
            _ if !token.iter().all(u8::is_ascii_graphic) => Err(NOT_VISIBLE),
            _ => Ok(Self(token.into())),
        }
    }

    /// Reads the token in the file at `path`, which `flag` (without dashes) names. One line end behind it is not part of it.
    ///
    /// # Errors
    /// When the file cannot be read, or its content is no token.
    pub fn load(flag: &'static str, path: &Path) -> Result<TokenFile, TokenError> {
        let failed = |reason| TokenError { flag, path: path.to_owned(), reason };
        let (content, mode) = read(path).map_err(|error| failed(error.to_string()))?;
        let line = content.strip_suffix(b"\n").unwrap_or(&content);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let token = Self::new(line).map_err(|error| failed(error.to_owned()))?;
        Ok(TokenFile { token, is_world_readable: mode & 0o004 != 0 })
    }

    /// Whether `authorization`, the value of that field, is `Bearer` and this token. The time it takes
    /// depends on nothing of the token but its length.
    #[must_use]
    pub fn matches(&self, authorization: &[u8]) -> bool {
        bearer(authorization).is_some_and(|token| constant_time_eq(token, &self.0))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The start of the file, enough of it to see that a token is too long, and the file's mode.
fn read(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut content = Vec::new();
    let limit = limits::HTTP_TOKEN + "\r\n".len() + 1;
    file.take(limit as u64).read_to_end(&mut content)?;
    Ok((content, mode))
}

/// The token of `Bearer TOKEN`: the scheme in any case, then one space or more.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = authorization.split_at_checked("Bearer".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer") && rest.starts_with(b" ");
    is_bearer.then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_matches() {
        let token = Token::new(b"s3cret").unwrap();
        for right in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret", "bEaReR s3cret "] {
            assert!(token.matches(right.as_bytes()), "{right}");
        }
        let wrong = [
            "",
            "Bearer",
            "Bearer ",
            "Bearers3cret",
            "s3cret",
            "Basic s3cret",
            "Bearer s3cre",
            "Bearer s3crett",
            "Bearer S3cret",
            "Bearer s3cret s3cret",
            "Bearer s3cret,s3cret",
            "Bearer\ts3cret",
            "Bearer \"s3cret\"",
            "Token s3cret",
            " Bearer s3cret",
        ];
        for wrong in wrong {
            assert!(!token.matches(wrong.as_bytes()), "{wrong}");
        }
    }

    /// The result of loading a file with this content. Each test has a file of its own.
    fn load(name: &str, content: &[u8], mode: u32) -> Result<TokenFile, String> {
        let path =
            std::env::temp_dir().join(format!("musterd-token-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = Token::load("http-write-token-file", &path).map_err(|error| {
            let text = error.to_string();
            assert!(text.contains(path.to_str().unwrap()), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
            text
        });
        std::fs::remove_file(&path).unwrap();
        loaded
    }

    #[test]
    fn a_token_file_has_one_token_and_at_most_one_line_end() {
        let longest = vec![b'x'; limits::HTTP_TOKEN];
        let good: [&[u8]; 4] = [b"s3cret", b"s3cret\n", b"s3cret\r\n", b"!~"];
        for content in good {
            let loaded = load("good", content, 0o600).unwrap();
            let token = content.trim_ascii();
            assert!(loaded.token.matches(&[b"Bearer ", token].concat()), "{content:?}");
        }
        assert!(load("longest", &[&longest[..], b"\r\n"].concat(), 0o600).is_ok());
        let bad: [(&[u8], &str); 9] = [
            (b"", EMPTY),
            (b"\n", EMPTY),
            (b"\r\n", EMPTY),
            (&[&longest[..], b"x"].concat(), TOO_LONG),
            (&longest.repeat(9), TOO_LONG),
            (b"s3cret\n\n", NOT_VISIBLE),
            (b"s3cret word", NOT_VISIBLE),
            ("s3cret\u{e9}".as_bytes(), NOT_VISIBLE),
            (b"s3cret\0", NOT_VISIBLE),
        ];
        for (content, want) in bad {
            let error = load("bad", content, 0o600).unwrap_err();
            assert!(error.ends_with(want), "{content:?}: {error}");
        }
    }

    #[test]
    fn an_unreadable_file_is_named() {
        for (path, reason) in
            [("/nonexistent/token", "No such file"), ("", "No such"), ("/", "Is a")]
        {
            let error = Token::load("the-flag", Path::new(path)).unwrap_err().to_string();
            let want = format!("--the-flag \"{path}\": {reason}");
            assert!(error.starts_with(&want), "{error}");
        }
    }

    #[test]
    fn a_world_readable_file_is_reported_and_the_token_is_not_shown() {
        for (mode, want) in [(0o600, false), (0o640, false), (0o604, true), (0o644, true)] {
            let loaded = load("mode", b"s3cret", mode).unwrap();
            assert_eq!(loaded.is_world_readable, want, "{mode:o}");
            assert!(!format!("{loaded:?}").contains("s3cret"));
        }
    }
}

//! The value of `--max-memory`: bytes, or a part of what there is.
//!
//! Must not: find out what there is; `resources` does. Runs on the main thread, at start.

use std::str::FromStr;

use crate::limits;

/// How much memory the daemon may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxMemory {
    /// Not limited.
    Off,
    /// So many bytes.
    Bytes(usize),
    /// So many per cent of the memory of the cgroup or of the machine, whichever is less.
    PerCent(usize),
}

impl FromStr for MaxMemory {
    type Err = String;

    /// Reads `0`, `75%`, or a whole number of bytes with K, M, G or T for a power of 1,024.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no amount of memory, such as 512M, 4G, 75% or 0");
        if let Some(number) = text.strip_suffix('%') {
            return match number.parse() {
                Ok(per_cent @ 1..=100) => Ok(Self::PerCent(per_cent)),
                _ => Err(wrong()),
            };
        }
        let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match &text[number.len()..] {
            "" => 0,
            "K" | "k" | "KiB" => 10,
            "M" | "m" | "MiB" => 20,
            "G" | "g" | "GiB" => 30,
            "T" | "t" | "TiB" => 40,
            _ => return Err(wrong()),
        };
        let number: usize = number.parse().map_err(|_| wrong())?;
        match number.checked_mul(1 << shift).ok_or_else(wrong)? {
            0 => Ok(Self::Off),
            bytes if bytes < limits::MEMORY_LEAST => {
                Err(format!("{text} is too little: 64M is the least"))
            }
            bytes => Ok(Self::Bytes(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_in_bytes_or_per_cent() {
        for (text, want) in [
            ("0", MaxMemory::Off),
            ("0M", MaxMemory::Off),
            ("67108864", MaxMemory::Bytes(64 << 20)),
            ("65536K", MaxMemory::Bytes(64 << 20)),
            ("512M", MaxMemory::Bytes(512 << 20)),
            ("512MiB", MaxMemory::Bytes(512 << 20)),
            ("4g", MaxMemory::Bytes(4 << 30)),
            ("1T", MaxMemory::Bytes(1 << 40)),
            ("1%", MaxMemory::PerCent(1)),
            ("100%", MaxMemory::PerCent(100)),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        let wrong = ["", "M", "-1", "1.5G", "512MB", "0%", "101%", "%", "99999999T", "5 G", "63M"];
        for text in wrong {
            let error = text.parse::<MaxMemory>().expect_err(text);
            assert!(error.contains("memory") || error.contains("the least"), "{error}");
        }
    }
}

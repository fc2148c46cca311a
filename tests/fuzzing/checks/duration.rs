//! `config::GoDuration` against the rules of Go's `time.ParseDuration`, with whole numbers.

use musterd::config::GoDuration;

pub(crate) fn duration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let got = text.parse::<GoDuration>();
    if let Ok(duration) = got {
        let written = duration.to_string();
        assert_eq!(written.parse(), Ok(duration), "{text:?} is written {written:?}");
    }
    // Go cuts its fractions off after floating point: off by one for each part at most. At the edge
    // of what fits that decides whether it fits.
    let parts = i128::try_from(text.len()).expect("a short text");
    let edge = i128::from(i64::MAX);
    match (reference(text), got) {
        (Some(nanos), _) if (nanos.abs() - edge).abs() <= parts => {}
        (Some(nanos), got) if nanos.abs() > edge => assert!(got.is_err(), "{text:?}: {got:?}"),
        (None, got) => assert!(got.is_err(), "{text:?}: {got:?}"),
        (Some(nanos), got) => {
            let got = got.unwrap_or_else(|error| panic!("{text:?}: {error}, not {nanos} ns"));
            let off = (i128::from(got.nanos()) - nanos).abs();
            assert!(off <= parts, "{text:?}: {got:?}, not {nanos} ns");
        }
    }
}

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// The nanoseconds of a text of the right form, however many; more than fit count as too many.
fn reference(text: &str) -> Option<i128> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanos: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let end = after.find(|letter: char| letter == '.' || letter.is_ascii_digit());
        let (unit, after) = after.split_at(end.unwrap_or(after.len()));
        let &(_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos = nanos.saturating_add(number(whole).saturating_mul(unit));
        // Eighteen digits are finer than a nanosecond of an hour.
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10_i128.pow(u32::try_from(fraction.len()).expect("at most 18"));
        nanos = nanos.saturating_add(number(fraction) * unit / scale);
        rest = after;
    }
    Some(nanos.saturating_mul(sign))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()))
}

/// Past what fits, anything: it is too much.
fn number(digits: &str) -> i128 {
    digits.bytes().fold(0_i128, |number, digit| {
        number.saturating_mul(10).saturating_add(i128::from(digit - b'0')).min(1 << 100)
    })
}

//! `protocol::decode`: what it takes depends on what it takes, and on nothing behind it.

use musterd::limits;
use musterd::protocol::decode;

/// The first byte: whether the peer has identified, and whether its input is over.
pub(crate) fn decode(data: &[u8]) {
    let Some((&flags, input)) = data.split_first() else { return };
    let (identified, end) = (flags & 1 != 0, flags & 2 != 0);
    let decode = |input, end| decode::decode(input, identified, end);
    let longest = limits::COMMAND_LINE + 4 + limits::IDENTIFY_BODY;
    match decode(input, end) {
        Ok(Some((command, taken))) => {
            assert!(0 < taken && taken <= input.len().min(longest));
            assert_eq!(decode(&input[..taken], false), Ok(Some((command, taken))));
            for missing in 1..=taken.min(8) {
                let whole = decode(&input[..taken - missing], false);
                assert_eq!(whole, Ok(None), "{missing} bytes before the end");
            }
        }
        Ok(None) => assert!(input.len() < longest, "it waits for more than the limits allow"),
        Err(refusal) => {
            assert!(refusal.message().len() < limits::COMMAND_LINE + 100);
            let longer = [input, b"PING\n"].concat();
            assert!(end || decode(&longer, false) == Err(refusal), "a refusal was taken back");
        }
    }
}

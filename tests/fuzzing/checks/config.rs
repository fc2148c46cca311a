//! The configuration file: any text is settings or one line that says what is wrong with it.

use std::ffi::OsString;

use musterd::config::{Config, Exit};

pub(crate) fn config(data: &[u8]) {
    // A host name would be looked up.
    if data.windows(7).any(|word| word == b"address") || data.contains(&b'\\') {
        return;
    }
    let name =
        format!("musterd-fuzz-{}-{:?}.toml", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, data).expect("the temporary folder takes a file");
    let read = Config::from_args([OsString::from("--config"), path.clone().into()]);
    std::fs::remove_file(&path).expect("it was written");
    match read {
        Ok(_) => assert!(std::str::from_utf8(data).is_ok(), "not TOML"),
        Err(Exit::Config(error)) => {
            let text = error.to_string();
            assert!(text.lines().count() == 1 && text.len() < data.len() * 6 + 1000, "{text}");
        }
        Err(other) => panic!("a file became {other:?}"),
    }
}

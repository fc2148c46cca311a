//! The configuration file: TOML whose keys are the names of the flags with underscores.
//!
//! Must not: know defaults or one flag from another; the table does.
//! Runs on the main thread, at start.

use std::path::Path;

use serde::Deserialize as _;
use toml::de::{DeTable, DeValue, ValueDeserializer};
use toml::{Spanned, de};

use super::flags::{FLAGS, Kind};
use super::go_duration::GoDuration;
use super::unknown_keys::UnknownKey;
use super::values::Given;

/// What a file holds.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// The values.
    pub(super) given: Given,
    /// What its author may not have meant, each with its line.
    pub(super) warnings: Vec<String>,
}

/// Reads the file at `path`. Keys that the table does not have are ignored with a warning (NSQ ignores
/// them without one), unless `strict` is set or one could be an access rule.
///
/// # Errors
/// When the file cannot be read, is not TOML, or has a value of the wrong type or such a key.
pub(super) fn load(path: &Path, strict: bool) -> Result<Loaded, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
    let loaded = text.and_then(|text| read(&text, strict));
    let mut loaded = loaded.map_err(|reason| failed(path, &reason))?;
    for warning in &mut loaded.warnings {
        *warning = format!("config file {}: {warning}", path.display());
    }
    Ok(loaded)
}

fn failed(path: &Path, reason: &str) -> String {
    format!("failed to load config file {} - {reason}", path.display())
}

/// Reads the text of a file; an error names its line, counted from one.
fn read(text: &str, strict: bool) -> Result<Loaded, String> {
    let line =
        |start: usize| 1 + text.get(..start).map_or(0, |before| before.matches('\n').count());
    // The reason may explain itself over several lines; a log line is one.
    let at = |start: usize, reason: &str| {
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("toml: line {}: {reason}", line(start))
    };
    let wrong = |error: de::Error| at(error.span().map_or(0, |span| span.start), error.message());
    let mut table = DeTable::parse(text).map_err(wrong)?.into_inner();
    let mut loaded = Loaded::default();
    for flag in FLAGS {
        let Some(key) = flag.key() else { continue };
        let Some(value) = table.remove(key.as_str()) else { continue };
        let (start, is_number) = (value.span().start, value.get_ref().is_integer());
        let texts = loaded.given.entry(flag.name).or_default();
        for text in self::texts(flag.kind, value).map_err(wrong)? {
            let start = text.span().start;
            flag.kind.check(text.get_ref()).map_err(|reason| at(start, &reason))?;
            texts.push(text.into_inner());
        }
        if let (Kind::Duration, true, [time]) = (flag.kind, is_number, &texts[..])
            && time.parse() != Ok(GoDuration::ZERO)
        {
            loaded.warnings.push(format!(
                "line {}: {key} has no unit and is {time}: a number counts milliseconds; write \
                 \"{time}\" if that is meant",
                line(start)
            ));
        }
    }
    for key in UnknownKey::all(&table) {
        let is_rule = key.is_like_access_rule();
        if strict || is_rule {
            let danger = if is_rule { "; without this access rule everyone is let in" } else { "" };
            return Err(at(key.start, &format!("{key}{danger}")));
        }
        loaded.warnings.push(format!("line {}: {key}; it is ignored", line(key.start)));
    }
    Ok(loaded)
}

/// A value as texts that the flag can take: one, or any number for a list.
fn texts(kind: Kind, value: Spanned<DeValue<'_>>) -> Result<Vec<Spanned<String>>, de::Error> {
    let span = value.span();
    let value = ValueDeserializer::from(value);
    let text = match kind {
        Kind::Networks => return Vec::deserialize(value),
        Kind::Text(_) | Kind::Checked(..) => String::deserialize(value)?,
        Kind::Count => usize::deserialize(value)?.to_string(),
        Kind::Duration => GoDuration::deserialize(value)?.to_string(),
        Kind::Bool => bool::deserialize(value)?.to_string(),
    };
    Ok(vec![Spanned::new(span, text)])
}

#[cfg(test)]
mod tests {
    use super::super::flags::Flag;
    use super::super::values::Values;
    use super::*;

    const MILLISECOND: i64 = 1_000_000;

    #[test]
    fn keys_have_underscores_and_unknown_ones_are_ignored_with_a_warning() {
        let text = "log_level = \"WARN\"\nlog-prefix = 5\nunknown_shards = [1, 2]\n\
                    version = true\nshards = 3\nhttp_engine = \"minihttp\"\nMAX_MEMORY = 1\n\
                    [table]\ntcp_address = 7\n[[list]]\n\"a\\nb\" = 1\n[empty]\n";
        let loaded = read(text, false).unwrap();
        let want = [("log-level", "WARN"), ("shards", "3"), ("http-engine", "minihttp")];
        let want = want.map(|(name, value)| (name, vec![value.to_owned()]));
        assert_eq!(loaded.given, Given::from(want));
        let outside = ", which stands outside of tables";
        for (line, key, rest) in [
            (2, "log-prefix", "the nearest key is log_prefix"),
            (3, "unknown_shards", "the nearest key is "),
            (4, "version", "only the command line has this flag"),
            (7, "MAX_MEMORY", "the nearest key is max_memory"),
            (9, "table.tcp_address", &format!("the nearest key is tcp_address{outside}")),
            (11, "list.a\\nb", "the nearest key is "),
            (12, "empty", "the nearest key is "),
        ] {
            let want = format!("line {line}: unknown key \"{key}\"; {rest}");
            let found = loaded.warnings.iter().any(|warning| warning.starts_with(&want));
            assert!(found, "{want}: {:#?}", loaded.warnings);
        }
        assert_eq!(loaded.warnings.len(), 7, "{:#?}", loaded.warnings);
        let error = read(text, true).unwrap_err();
        let want = "toml: line 2: unknown key \"log-prefix\"; the nearest key is log_prefix";
        assert_eq!(error, want);
        assert_eq!(read("shards = 3\ntcp_allow = []", true).unwrap().warnings.len(), 0);
    }

    /// But for case, dashes, the table and two letters.
    #[test]
    fn a_key_that_could_be_an_access_rule_is_an_error() {
        let rules = FLAGS.iter().filter(|flag| flag.access_rule);
        let mut count = 0;
        for key in rules.filter_map(Flag::key) {
            count += 1;
            let (first, last) = key.split_once('_').unwrap();
            for (line, spelling) in [
                (1, key.replace('_', "-")),
                (1, key.replace('_', "")),
                (1, key.to_uppercase()),
                (1, format!("{key}ed")),
                (1, key[2..].to_owned()),
                (1, key.replace("tp", "pt").replace("ma", "am").replace("cp", "pc")),
                (1, format!("{first}.{last}")),
                (1, format!("a.b.{}", key.replace('_', "-"))),
                (1, format!("a = [{{ {key} = 1 }}]\nb")),
                (1, format!("a = [1, [{{ {key} = 1 }}]]\nb")),
                (2, format!("[access]\n{key}")),
                (2, format!("[access]\n{}", key.to_uppercase())),
                (3, format!("\n[[access]]\n{key}s")),
            ] {
                if spelling == key {
                    continue;
                }
                let error = read(&format!("{spelling} = [\"::1\"]"), false).expect_err(&spelling);
                let named = format!("the nearest key is {key}");
                let at = format!("toml: line {line}: unknown key \"");
                assert!(error.starts_with(&at) && error.contains(&named), "{spelling}: {error}");
            }
            let error = read(&format!("[{}]\na = 1", key.to_uppercase()), false).unwrap_err();
            assert!(error.contains(&key), "{error}");
        }
        assert_eq!(count, 9);
    }

    #[test]
    fn nsqlookupds_own_configuration_file_has_no_warning() {
        let text = "log_level = \"info\"\nlog_prefix = \"[x] \"\ntcp_address = \"0.0.0.0:4160\"\n\
                    http_address = \"0.0.0.0:4161\"\nbroadcast_address = \"lookup-1\"\n\
                    inactive_producer_timeout = \"300s\"\ntombstone_lifetime = \"45s\"\n";
        let loaded = read(text, true).unwrap();
        assert_eq!((loaded.given.len(), loaded.warnings.len()), (7, 0));
    }

    /// Those that nsqd, nsqadmin and nsqlookupd v1.3.0 have beside them, as in a file for all three.
    #[test]
    fn keys_of_other_daemons_of_nsq_are_ignored_with_a_warning() {
        let keys = "acl_http_header admin_user allow_config_from_cidr auth_http_address base_path \
                    broadcast_http_port broadcast_tcp_port config data_path deflate dev_static_dir \
                    e2e_processing_latency_window_time graphite_url http_client_connect_timeout \
                    http_client_request_timeout http_client_tls_cert \
                    http_client_tls_insecure_skip_verify http_client_tls_key \
                    http_client_tls_root_ca_file https_address lookupd_http_address \
                    lookupd_tcp_address max_body_size max_bytes_per_file max_channel_consumers \
                    max_deflate_level max_heartbeat_interval max_msg_size max_msg_timeout \
                    max_output_buffer_size max_output_buffer_timeout max_rdy_count max_req_timeout \
                    mem_queue_size min_output_buffer_timeout msg_timeout node_id \
                    notification_http_endpoint nsqd_http_address output_buffer_timeout \
                    proxy_graphite queue_scan_selection_count queue_scan_worker_pool_max snappy \
                    statsd_address statsd_counter_format statsd_exclude_ephemeral \
                    statsd_gauge_format statsd_interval statsd_mem_stats statsd_prefix \
                    statsd_udp_packet_size sync_every sync_timeout tls_cert tls_client_auth_policy \
                    tls_key tls_min_version tls_required tls_root_ca_file verbose version worker_id";
        for key in keys.split(' ') {
            let loaded = read(&format!("{key} = 1"), false).unwrap();
            let want = format!("line 1: unknown key \"{key}\"; ");
            assert!(loaded.warnings.len() == 1 && loaded.warnings[0].starts_with(&want), "{key}");
        }
    }

    #[test]
    fn a_duration_without_a_unit_is_warned_of() {
        let loaded = read("\ninactive_producer_timeout = 300", false).unwrap();
        let want = "line 2: inactive_producer_timeout has no unit and is 300ms: a number counts \
                    milliseconds; write \"300ms\" if that is meant";
        assert_eq!(loaded.warnings, [want]);
        for text in ["tombstone_lifetime = 0", "tombstone_lifetime = \"45s\"", "shards = 3"] {
            assert!(read(text, false).unwrap().warnings.is_empty(), "{text}");
        }
    }

    #[test]
    fn durations_are_gos_text_or_milliseconds() {
        for (value, millis) in [("5", 5), ("\"5s\"", 5_000), ("\"-1m\"", -60_000), ("0", 0)] {
            let file = read(&format!("tombstone_lifetime = {value}"), false).unwrap().given;
            let values = Values { file, ..Values::default() };
            let got = values.get::<GoDuration>("tombstone-lifetime").nanos();
            assert_eq!(got, millis * MILLISECOND, "{value}");
        }
    }

    #[test]
    fn errors_name_their_line() {
        for (text, want) in [
            ("a = 1\nbroken =\n", "line 2"),
            ("a = 1\na = 2\n", "line 2: duplicate key"),
            (
                "\n\nlog_level = \"nope\"",
                "line 3: invalid log level 'nope' (debug, info, warn, error, fatal)",
            ),
            ("log_level = 5", "line 1: invalid type: integer `5`, expected a string"),
            (
                "tombstone_lifetime = 5.5",
                "line 1: invalid type: floating point `5.5`, expected a duration such as \"1m30s\"",
            ),
            (
                "tombstone_lifetime = true",
                "line 1: invalid type: boolean `true`, expected a duration",
            ),
            ("tombstone_lifetime = \"5\"", "line 1: time: missing unit in duration \"5\""),
            (
                "tombstone_lifetime = 9223372036854775807",
                "line 1: 9223372036854775807 ms is too long",
            ),
            (
                "tcp_allow = [\n\"::1\",\n\"10.0.0.0/33\"]",
                "line 3: '10.0.0.0/33' is neither an address nor a CIDR (10.0.0.0/8, 2001:db8::/32, \
                 ::1)",
            ),
            (
                "http_write_allow = \"::1\"",
                "line 1: invalid type: string \"::1\", expected a sequence",
            ),
            ("shards = -1", "line 1: invalid value: integer `-1`, expected usize"),
        ] {
            let error = failed(Path::new("c.toml"), &read(text, false).unwrap_err());
            let want = format!("failed to load config file c.toml - toml: {want}");
            assert!(error.starts_with(&want) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(Path::new("/nonexistent/x.toml"), false).unwrap_err();
        assert!(
            error.starts_with("failed to load config file /nonexistent/x.toml - No such file"),
            "{error}"
        );
    }
}

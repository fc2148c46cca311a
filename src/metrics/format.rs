//! [`Format`]: in which of its two text formats `/metrics` is answered.
//!
//! Must not: know how a format is written. Source: Prometheus' `scrape/scrape.go` for what it asks,
//! `expfmt` for the types.

/// A text format of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4: what is given to whoever asks for nothing else.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that the `Accept` field of a request asks for.
    #[must_use]
    pub fn negotiate(accept: Option<&[u8]>) -> Self {
        let accept = std::str::from_utf8(accept.unwrap_or_default()).unwrap_or_default();
        let (mut text, mut openmetrics) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, "");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim_end().to_ascii_lowercase().as_str() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            match (media.as_str(), version) {
                ("application/openmetrics-text", "" | "1.0.0") => {
                    openmetrics = openmetrics.max(quality);
                }
                ("text/plain", "" | "0.0.4") | ("text/*" | "*/*", _) => text = text.max(quality),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The response's `Content-Type` field.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "Content-Type: text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => {
                "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_given_to_those_who_prefer_it() {
        let prometheus_2_2 = "application/openmetrics-text;version=1.0.0,\
            application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,\
            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let prometheus_3_text_first = "text/plain;version=0.0.4;q=0.6,\
            application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1";
        for (accept, want) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,*/*;q=0.8", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text ; Version = \"1.0.0\" ; Q = 0.5", Format::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1,text/plain;q=0.5", Format::Text),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=x", Format::Text),
            ("application/openmetrics-text;q=0.5,*/*", Format::Text),
            (
                "application/vnd.google.protobuf,application/openmetrics-text;q=0.1",
                Format::OpenMetrics,
            ),
            (prometheus_2_2, Format::OpenMetrics),
            (prometheus_3, Format::OpenMetrics),
            (prometheus_3_text_first, Format::Text),
            (",;=,;q,\u{e4}", Format::Text),
        ] {
            assert_eq!(Format::negotiate(Some(accept.as_bytes())), want, "{accept}");
        }
        assert_eq!(Format::negotiate(None), Format::Text);
        assert_eq!(Format::negotiate(Some(b"\xff")), Format::Text);
    }
}

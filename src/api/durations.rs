//! [`RequestDurations`]: how long requests took, by route, method and status.
//!
//! There are as many series as routes, methods and statuses, whatever clients send. Must not: allocate
//! or lock once a combination was seen. Any worker.

use std::sync::Arc;
use std::time::Duration;

use super::routes::{ROUTES, Routed};
use crate::metrics::{Families, Histograms};

/// The methods of requests that lead to no route.
const METHODS: [&str; 3] = ["GET", "POST", "other"];

/// The statuses of responses, the busiest first, and all others.
const STATUSES: [(u16, &str); 16] = [
    (200, "200"),
    (404, "404"),
    (301, "301"),
    (307, "307"),
    (400, "400"),
    (403, "403"),
    (405, "405"),
    (408, "408"),
    (413, "413"),
    (414, "414"),
    (417, "417"),
    (421, "421"),
    (431, "431"),
    (501, "501"),
    (503, "503"),
    (505, "505"),
];

/// Histograms of requests.
#[derive(Clone, Debug)]
pub struct RequestDurations(Arc<Histograms>);

impl Default for RequestDurations {
    fn default() -> Self {
        let slots = (ROUTES.len() + METHODS.len()) * (STATUSES.len() + 1);
        Self(Arc::new(Histograms::new(slots)))
    }
}

impl RequestDurations {
    /// Registers their family.
    pub fn register_metrics(&self, families: &mut Families) {
        let help = "From the start of the event loop's iteration that read the end of the request to \
                    its rendered response.";
        let name = "musterd_http_request_duration_seconds";
        families.histogram(name, help, Arc::clone(&self.0));
    }

    /// A request was answered with `status`; `routed` is none if it was refused before it had a route.
    pub fn observe(&self, routed: Option<Routed>, method: &[u8], status: u16, span: Duration) {
        let row = match routed {
            Some(Routed::To(route)) => ROUTES.iter().position(|row| std::ptr::eq(row, route)),
            _ => None,
        };
        let row = row.unwrap_or_else(|| {
            let at = METHODS.iter().position(|known| known.as_bytes() == method);
            ROUTES.len() + at.unwrap_or(METHODS.len() - 1)
        });
        let status_at = STATUSES.iter().position(|(known, _)| *known == status);
        let status_at = status_at.unwrap_or(STATUSES.len());
        let slot = row * (STATUSES.len() + 1) + status_at;
        let labels = || {
            let (route, method) = match ROUTES.get(row) {
                Some(route) => (route.path, std::str::from_utf8(route.method).unwrap_or_default()),
                None => ("other", METHODS[row - ROUTES.len()]),
            };
            let status = STATUSES.get(status_at).map_or("other", |(_, label)| label);
            vec![("route", route), ("method", method), ("code", status)]
        };
        self.0.observe(slot, labels, span);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Route, reason};
    use crate::metrics::Format;

    #[test]
    fn clients_cannot_add_series() {
        let (durations, mut families) = (RequestDurations::default(), Families::default());
        durations.register_metrics(&mut families);
        let families = Arc::new(families);
        let observe = |method: &str, path: &str, status| {
            let routed = Routed::find(method.as_bytes(), path.as_bytes());
            durations.observe(Some(routed), method.as_bytes(), status, Duration::from_micros(3));
        };
        observe("GET", "/lookup", 200);
        observe("GET", "/lookup", 200);
        observe("POST", "/topic/create", 503);
        for number in 0..100 {
            observe("GET", &format!("/x{number}"), 404);
            observe(&format!("X{number}"), "/lookup", 405);
            durations.observe(None, b"", 600 + number, Duration::ZERO);
        }
        let text = families.render(Format::Text);
        let prefix = "musterd_http_request_duration_seconds_count{route=";
        let counts: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(prefix)).collect();
        let want = [
            "\"/lookup\",method=\"GET\",code=\"200\"} 2",
            "\"/topic/create\",method=\"POST\",code=\"503\"} 1",
            "\"other\",method=\"GET\",code=\"404\"} 100",
            "\"other\",method=\"other\",code=\"405\"} 100",
            "\"other\",method=\"other\",code=\"other\"} 100",
        ];
        assert_eq!(counts, want);
    }

    #[test]
    fn every_status_that_is_sent_has_a_label() {
        // 100 is no response to a request, and 500 is never sent.
        let is_sent = |status: &u16| ![100, 500].contains(status) && reason(*status) != "Unknown";
        let mut labelled = STATUSES.map(|(status, label)| {
            assert_eq!(label, status.to_string());
            status
        });
        labelled.sort_unstable();
        assert_eq!((100..600).filter(is_sent).collect::<Vec<_>>(), labelled);
    }
}

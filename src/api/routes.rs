//! The routes, and which of them a request takes: the rules of httprouter, which nsqlookupd is
//! built on. Divergence: a HEAD takes the route of a GET, and every `Allow` with GET names it.
//!
//! Must not: know what a handler does. Any thread. Source: nsq `nsqlookupd/http.go`
//! `newHTTPServer`, httprouter v1.3.0 `Router.ServeHTTP`.

use std::fmt;

use super::handlers::{self, Answered, Api, Exchange};
use super::lookup;
use super::response::{self, ApiError, JSON, NSQ};
use crate::clock::Timestamp;
use crate::http1::{self, Request, Response, Target, Task};

const GET: &[u8] = b"GET";
const HEAD: &[u8] = b"HEAD";
const POST: &[u8] = b"POST";

/// The routes, the busiest first.
pub(super) static ROUTES: [Route; 23] = [
    route(GET, "/lookup", lookup::do_lookup, SHORT),
    route(GET, "/ping", handlers::do_ping, PROBE),
    route(GET, "/channels", handlers::do_channels, NSQD),
    route(GET, "/livez", handlers::do_ping, PROBE),
    route(GET, "/topics", handlers::do_topics, NOTHING),
    route(GET, "/nodes", handlers::do_nodes, NOTHING),
    route(GET, "/info", handlers::do_info, NOTHING),
    route(GET, "/debug", handlers::do_debug, NOTHING),
    route(GET, "/metrics", handlers::do_metrics, Needs { short: true, ..NOTHING }),
    route(POST, "/topic/create", handlers::do_create_topic, WRITE),
    route(POST, "/topic/delete", handlers::do_delete_topic, WRITE),
    route(POST, "/channel/create", handlers::do_create_channel, WRITE),
    route(POST, "/channel/delete", handlers::do_delete_channel, WRITE),
    route(POST, "/topic/tombstone", handlers::do_tombstone_topic_producer, WRITE),
    route(GET, "/debug/pprof", handlers::do_profile, NOTHING),
    route(GET, "/debug/pprof/cmdline", handlers::do_profile, NOTHING),
    route(GET, "/debug/pprof/symbol", handlers::do_profile, NOTHING),
    route(POST, "/debug/pprof/symbol", handlers::do_profile, NOTHING),
    route(GET, "/debug/pprof/profile", handlers::do_profile, NOTHING),
    route(GET, "/debug/pprof/heap", handlers::do_profile, NOTHING),
    route(GET, "/debug/pprof/goroutine", handlers::do_profile, NOTHING),
    route(GET, "/debug/pprof/block", handlers::do_profile, NOTHING),
    route(GET, "/debug/pprof/threadcreate", handlers::do_profile, NOTHING),
];

/// One row of the table.
pub struct Route {
    pub(super) method: &'static [u8],
    pub(super) path: &'static str,
    handler: Handler,
    needs: Needs,
}

/// Answers a request, or returns the error to answer it with.
type Handler = fn(Exchange<'_, '_>) -> Answered;

/// What a route needs besides its handler.
#[derive(Clone, Copy)]
struct Needs {
    /// nsqlookupd's handler looks at the query, and then reads the request's body.
    body: bool,
    /// It changes something, so that the access rules are asked and the request is logged at info.
    write: bool,
    /// It says that the daemon serves: no rule closes it, whatever name it is asked by.
    probe: bool,
    /// nsqds ask it, of one topic, before that has its first message.
    nsqd: bool,
    /// It is answered from a reserve when clients leave much unread, unless it is about all topics.
    short: bool,
}

const NOTHING: Needs = Needs { body: false, write: false, probe: false, nsqd: false, short: false };
const BODY: Needs = Needs { body: true, ..NOTHING };
const SHORT: Needs = Needs { short: true, ..BODY };
const NSQD: Needs = Needs { nsqd: true, ..SHORT };
const WRITE: Needs = Needs { body: true, write: true, ..NOTHING };
const PROBE: Needs = Needs { probe: true, ..NOTHING };

const fn route(method: &'static [u8], path: &'static str, handler: Handler, needs: Needs) -> Route {
    Route { method, path, handler, needs }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", String::from_utf8_lossy(self.method), self.path)
    }
}

/// Where a request leads.
#[derive(Clone, Copy, Debug)]
pub enum Routed {
    /// To a route.
    To(&'static Route),
    /// Elsewhere: the client is sent to this path, which differs by case, slashes or dots.
    Moved(&'static str),
    /// It asks which methods there are: the value of `Allow`, which Go's server leaves out of its
    /// answer about itself (`OPTIONS *`).
    Options(Option<&'static str>),
    /// Its path has other methods: the value of `Allow`.
    MethodNotAllowed(&'static str),
    /// Nowhere.
    NotFound,
}

impl http1::Route for Routed {
    fn find(method: &[u8], path: &[u8]) -> Self {
        let method = if method == HEAD { GET } else { method };
        if let Some(route) = exact(method, path) {
            return Self::To(route);
        }
        // Only a method that has routes at all is ever sent elsewhere.
        if (method == GET || method == POST)
            && path != b"/"
            && let Some(path) = nearby(method, path)
        {
            return Self::Moved(path);
        }
        match (allowed(method, path), method) {
            (Some(_), b"OPTIONS") if path == b"*" => Self::Options(None),
            (Some(allow), b"OPTIONS") => Self::Options(Some(allow)),
            (Some(allow), _) => Self::MethodNotAllowed(allow),
            (None, _) => Self::NotFound,
        }
    }

    /// A query that is malformed is answered before the body is read.
    fn reads_body(&self, target: &Target<'_>) -> bool {
        self.needs().body && target.parameters([]).is_ok()
    }
}

impl Routed {
    /// The path of its route, or one word for all others: there are as many as clients make up.
    #[must_use]
    pub fn pattern(&self) -> &'static str {
        if let Self::To(route) = self { route.path } else { "other" }
    }

    /// Whether it leads to a route that changes something.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.needs().write
    }

    /// Whether it leads to a route that shows something.
    pub(super) fn reads(&self) -> bool {
        matches!(self, Self::To(route) if route.method == GET && !route.needs.probe)
    }

    /// Whether it leads to a route that nsqds ask, of one topic.
    pub(super) fn is_of_nsqds(&self) -> bool {
        self.needs().nsqd
    }

    /// Whether it leads to a route that is answered from the reserve.
    pub(super) fn is_short(&self) -> bool {
        self.needs().short
    }

    /// Whether it leads to a route that is never closed.
    pub(super) fn is_probe(&self) -> bool {
        self.needs().probe
    }

    fn needs(&self) -> Needs {
        if let Self::To(route) = self { route.needs } else { NOTHING }
    }
}

impl Api {
    /// Answers a request where its route leads. What it changes is published when it returns.
    pub fn answer(
        &self,
        request: &Request<'_, Routed>,
        now: Timestamp,
        response: &mut Response<'_>,
    ) -> Option<Box<dyn Task>> {
        let allow_field = |allow| format!("Allow: {allow}");
        match request.route {
            Routed::To(route) => {
                let exchange = Exchange { api: self, request, now, response };
                match (route.handler)(exchange) {
                    Ok(task) => return task,
                    Err(error) => error.write(response),
                }
            }
            Routed::Moved(path) => response::redirect(request.head, path, response),
            Routed::Options(allow) => {
                let field = allow.map(allow_field);
                response.start(200, field.as_deref().as_slice(), 0);
            }
            Routed::MethodNotAllowed(allow) => {
                let fields = [&allow_field(allow), JSON, NSQ];
                ApiError::METHOD_NOT_ALLOWED.write_with(&fields, response);
            }
            Routed::NotFound => ApiError::NOT_FOUND.write(response),
        }
        None
    }
}

fn exact(method: &[u8], path: &[u8]) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.method == method && route.path.as_bytes() == path)
}

/// The path of `method` that `path` probably meant: without its last slash, cleaned, in another
/// case.
fn nearby(method: &[u8], path: &[u8]) -> Option<&'static str> {
    let clean = clean(path);
    let trimmed = clean.strip_suffix(b"/").unwrap_or(&clean);
    ROUTES
        .iter()
        .find(|route| route.method == method && route.path.as_bytes().eq_ignore_ascii_case(trimmed))
        .map(|route| route.path)
}

/// The value of `Allow` for `path`, if any method but `method` has a route there.
fn allowed(method: &[u8], path: &[u8]) -> Option<&'static str> {
    let has = |other: &[u8]| path == b"*" || (other != method && exact(other, path).is_some());
    match (has(GET), has(POST)) {
        (true, true) => Some("GET, HEAD, OPTIONS, POST"),
        (true, false) => Some("GET, HEAD, OPTIONS"),
        (false, true) => Some("OPTIONS, POST"),
        (false, false) => None,
    }
}

/// `path` with one leading slash, without empty, `.` and `..` elements; a slash at the end stays.
/// Source: httprouter `CleanPath`.
fn clean(path: &[u8]) -> Vec<u8> {
    let mut elements: Vec<&[u8]> = Vec::new();
    for element in path.split(|&byte| byte == b'/') {
        match element {
            b"" | b"." => {}
            b".." => drop(elements.pop()),
            element => elements.push(element),
        }
    }
    let mut clean = b"/".to_vec();
    clean.extend(elements.join(&b'/'));
    if !elements.is_empty() && (path.ends_with(b"/") || path.ends_with(b"/.")) {
        clean.push(b'/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, path: &str, want: &str) {
        let routed = <Routed as http1::Route>::find(method.as_bytes(), path.as_bytes());
        assert_eq!(format!("{routed:?}"), want, "{method} {path}");
    }

    #[test]
    fn requests_are_routed_as_httprouter_routes_them() {
        check("GET", "/lookup", "To(GET /lookup)");
        check("POST", "/topic/create", "To(POST /topic/create)");
        check("GET", "/debug/pprof/heap", "To(GET /debug/pprof/heap)");
        check("POST", "/debug/pprof/symbol", "To(POST /debug/pprof/symbol)");
        for path in [
            "/LOOKUP",
            "/lookup/",
            "//lookup",
            "/x/../Lookup",
            "/./lookup/.",
            "lookup",
            "/lookup//",
        ] {
            check("GET", path, "Moved(\"/lookup\")");
        }
        check("POST", "/topic//create/", "Moved(\"/topic/create\")");
        check("GET", "/debug/", "Moved(\"/debug\")");
        check("GET", "/debug/pprof/", "Moved(\"/debug/pprof\")");
        check("GET", "/topic/create", "MethodNotAllowed(\"OPTIONS, POST\")");
        check("GET", "/topic/create/", "NotFound");
        check("HEAD", "/ping", "To(GET /ping)");
        check("HEAD", "/PING", "Moved(\"/ping\")");
        check("HEAD", "/topic/create", "MethodNotAllowed(\"OPTIONS, POST\")");
        check("HEAD", "/nope", "NotFound");
        check("head", "/ping", "MethodNotAllowed(\"GET, HEAD, OPTIONS\")");
        check("DELETE", "/debug/pprof/symbol", "MethodNotAllowed(\"GET, HEAD, OPTIONS, POST\")");
        check("get", "/ping", "MethodNotAllowed(\"GET, HEAD, OPTIONS\")");
        check("OPTIONS", "/ping", "Options(Some(\"GET, HEAD, OPTIONS\"))");
        check("OPTIONS", "/nope", "NotFound");
        check("OPTIONS", "*", "Options(None)");
        check("GET", "*", "MethodNotAllowed(\"GET, HEAD, OPTIONS, POST\")");
        for path in [
            "/",
            "",
            "/nope",
            "/looku",
            "/lookups",
            "/topic",
            "/topic/",
            "/..",
            "/debug/pprof/nope",
        ] {
            check("GET", path, "NotFound");
        }
        check("", "", "NotFound");
    }

    #[test]
    fn every_post_writes_but_for_the_profiler() {
        for route in ROUTES.iter().filter(|route| route.method == POST) {
            assert_eq!(route.needs.write, !route.path.starts_with("/debug/"), "{route:?}");
            assert!(route.needs.body || !route.needs.write, "{route:?}");
        }
        assert!(ROUTES.iter().all(|route| route.method == POST || !route.needs.write));
    }

    #[test]
    fn a_body_is_read_where_nsqlookupd_reads_it() {
        let is_read = |route: &Route| {
            let routed = <Routed as http1::Route>::find(route.method, route.path.as_bytes());
            let target = Target::parse(route.method, route.path.as_bytes()).expect("a path");
            http1::Route::reads_body(&routed, &target)
        };
        let readers = ROUTES.iter().filter(|route| is_read(route)).map(|route| route.path);
        let want = [
            "/lookup",
            "/channels",
            "/topic/create",
            "/topic/delete",
            "/channel/create",
            "/channel/delete",
            "/topic/tombstone",
        ];
        assert!(readers.clone().eq(want), "{:?}", readers.collect::<Vec<_>>());
    }

    #[test]
    fn unknown_paths_share_one_pattern() {
        let pattern =
            |method: &[u8], path: &[u8]| <Routed as http1::Route>::find(method, path).pattern();
        assert_eq!(pattern(GET, b"/lookup"), "/lookup");
        for (method, path) in [(GET, "/nope"), (GET, "/LOOKUP"), (POST, "/lookup"), (GET, "*")] {
            assert_eq!(pattern(method, path.as_bytes()), "other", "{path}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_httprouter_cleans_them() {
        let cases = [
            ("", "/"),
            ("/", "/"),
            ("abc", "/abc"),
            ("/abc/", "/abc/"),
            ("//abc", "/abc"),
            ("/abc//def", "/abc/def"),
            ("/abc/./def", "/abc/def"),
            ("/abc/..", "/"),
            ("/abc/../", "/"),
            ("/abc/def/..", "/abc"),
            ("/abc/def/../..", "/"),
            ("../abc", "/abc"),
            ("/abc/.", "/abc/"),
            ("/abc/def/../", "/abc/"),
        ];
        for (path, want) in cases {
            assert_eq!(clean(path.as_bytes()), want.as_bytes(), "{path}");
        }
    }
}

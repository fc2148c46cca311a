//! Which route a request takes: the rules of `httprouter`, which nsqlookupd is built on.
//!
//! Must not: know what a route does. Pure; any thread. Source: nsq `nsqlookupd/http.go`
//! `newHTTPServer`, httprouter v1.3.0 `Router.ServeHTTP`.

/// What a request is about, named after NSQ's handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// `GET /ping`
    Ping,
    /// `GET /info`
    Info,
    /// `GET /debug`
    Debug,
    /// `GET /lookup?topic=`
    Lookup,
    /// `GET /topics`
    Topics,
    /// `GET /channels?topic=`
    Channels,
    /// `GET /nodes`
    Nodes,
    /// `POST /topic/create?topic=`
    CreateTopic,
    /// `POST /topic/delete?topic=`
    DeleteTopic,
    /// `POST /channel/create?topic=&channel=`
    CreateChannel,
    /// `POST /channel/delete?topic=&channel=`
    DeleteChannel,
    /// `POST /topic/tombstone?topic=&node=`
    TombstoneTopicProducer,
    /// `GET /metrics`, which nsqlookupd does not have
    Metrics,
    /// `/debug/pprof` and what Go serves below it
    Profile,
}

impl Route {
    /// Whether nsqlookupd's handler looks at the query, and then reads the request's body.
    #[must_use]
    pub fn has_parameters(self) -> bool {
        !matches!(
            self,
            Self::Ping
                | Self::Info
                | Self::Debug
                | Self::Topics
                | Self::Nodes
                | Self::Metrics
                | Self::Profile
        )
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Routed {
    /// To its route.
    To(Route),
    /// Elsewhere: the client is told this path, which differs by case, slashes or dots.
    Moved(&'static str),
    /// It asks which methods there are: the value of `Allow`, which Go's server leaves out of its
    /// answer about itself (`OPTIONS *`).
    Options(Option<&'static str>),
    /// Its path has other methods: the value of `Allow`.
    MethodNotAllowed(&'static str),
    /// Nowhere.
    NotFound,
}

const GET: &[u8] = b"GET";
const POST: &[u8] = b"POST";

/// The one list of routes, the busiest first.
const ROUTES: [(&[u8], &str, Route); 22] = [
    (GET, "/lookup", Route::Lookup),
    (GET, "/ping", Route::Ping),
    (GET, "/channels", Route::Channels),
    (GET, "/topics", Route::Topics),
    (GET, "/nodes", Route::Nodes),
    (GET, "/info", Route::Info),
    (GET, "/debug", Route::Debug),
    (GET, "/metrics", Route::Metrics),
    (POST, "/topic/create", Route::CreateTopic),
    (POST, "/topic/delete", Route::DeleteTopic),
    (POST, "/channel/create", Route::CreateChannel),
    (POST, "/channel/delete", Route::DeleteChannel),
    (POST, "/topic/tombstone", Route::TombstoneTopicProducer),
    (GET, "/debug/pprof", Route::Profile),
    (GET, "/debug/pprof/cmdline", Route::Profile),
    (GET, "/debug/pprof/symbol", Route::Profile),
    (POST, "/debug/pprof/symbol", Route::Profile),
    (GET, "/debug/pprof/profile", Route::Profile),
    (GET, "/debug/pprof/heap", Route::Profile),
    (GET, "/debug/pprof/goroutine", Route::Profile),
    (GET, "/debug/pprof/block", Route::Profile),
    (GET, "/debug/pprof/threadcreate", Route::Profile),
];

/// Finds the way of `method` to `path`, whose escapes are undone.
#[must_use]
pub fn route(method: &[u8], path: &[u8]) -> Routed {
    if let Some(route) = exact(method, path) {
        return Routed::To(route);
    }
    // Only a method that has routes at all is ever sent elsewhere.
    if (method == GET || method == POST)
        && path != b"/"
        && let Some(path) = nearby(method, path)
    {
        return Routed::Moved(path);
    }
    match (allowed(method, path), method) {
        (Some(_), b"OPTIONS") if path == b"*" => Routed::Options(None),
        (Some(allow), b"OPTIONS") => Routed::Options(Some(allow)),
        (Some(allow), _) => Routed::MethodNotAllowed(allow),
        (None, _) => Routed::NotFound,
    }
}

fn exact(method: &[u8], path: &[u8]) -> Option<Route> {
    ROUTES.iter().find(|&&(m, p, _)| m == method && p.as_bytes() == path).map(|&(.., route)| route)
}

/// The path of `method` that `path` probably meant: without its last slash, cleaned, in another case.
fn nearby(method: &[u8], path: &[u8]) -> Option<&'static str> {
    let clean = clean(path);
    let trimmed = clean.strip_suffix(b"/").unwrap_or(&clean);
    ROUTES
        .iter()
        .find(|(m, p, _)| *m == method && p.as_bytes().eq_ignore_ascii_case(trimmed))
        .map(|&(_, path, _)| path)
}

/// The value of `Allow` for `path`, if any method but `method` has a route there.
fn allowed(method: &[u8], path: &[u8]) -> Option<&'static str> {
    let has = |other: &[u8]| path == b"*" || (other != method && exact(other, path).is_some());
    match (has(GET), has(POST)) {
        (true, true) => Some("GET, OPTIONS, POST"),
        (true, false) => Some("GET, OPTIONS"),
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

    fn check(method: &str, path: &str, want: Routed) {
        assert_eq!(route(method.as_bytes(), path.as_bytes()), want, "{method} {path}");
    }

    #[test]
    fn every_request_finds_its_way() {
        use Routed::{MethodNotAllowed, Moved, NotFound, Options, To};
        check("GET", "/lookup", To(Route::Lookup));
        check("POST", "/topic/create", To(Route::CreateTopic));
        check("GET", "/debug/pprof/heap", To(Route::Profile));
        check("POST", "/debug/pprof/symbol", To(Route::Profile));
        for path in [
            "/LOOKUP",
            "/lookup/",
            "//lookup",
            "/x/../Lookup",
            "/./lookup/.",
            "lookup",
            "/lookup//",
        ] {
            check("GET", path, Moved("/lookup"));
        }
        check("POST", "/topic//create/", Moved("/topic/create"));
        check("GET", "/debug/", Moved("/debug"));
        check("GET", "/debug/pprof/", Moved("/debug/pprof"));
        check("GET", "/topic/create", MethodNotAllowed("OPTIONS, POST"));
        check("GET", "/topic/create/", NotFound);
        check("HEAD", "/ping", MethodNotAllowed("GET, OPTIONS"));
        check("HEAD", "/PING", NotFound);
        check("DELETE", "/debug/pprof/symbol", MethodNotAllowed("GET, OPTIONS, POST"));
        check("get", "/ping", MethodNotAllowed("GET, OPTIONS"));
        check("OPTIONS", "/ping", Options(Some("GET, OPTIONS")));
        check("OPTIONS", "/nope", NotFound);
        check("OPTIONS", "*", Options(None));
        check("GET", "*", MethodNotAllowed("GET, OPTIONS, POST"));
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
            check("GET", path, NotFound);
        }
        check("", "", NotFound);
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

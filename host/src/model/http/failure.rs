//! Explains why a request got no answer: no connection, a broken one, or something that doesn't speak HTTP.

use std::error::Error;
use std::io;
use std::time::Duration;

use super::super::{Misconnected, MisconnectedKind, ModelError, Progress, Upload};
use super::certificate;
use super::error::chain;

/// A server that closes the connection this soon after it got a whole request, without an answer, was closing it anyway: the
/// request met the close on its way, and nothing was processed. The library doesn't tell a part of a head from none.
const CLOSE_IN_FLIGHT: Duration = Duration::from_secs(1);

/// How the HTTP library names a proxy that wants a user name and a password. It keeps no status.
const PROXY_WANTS_CREDENTIALS: &str = "proxy authorization required";

/// How the HTTP library names a proxy that makes no tunnel for another reason. It keeps no status either.
const NO_TUNNEL: &str = "tunnel error: unsuccessful";

/// Whether the proxy has answered, and made no tunnel.
pub(super) fn makes_no_tunnel(error: &reqwest::Error) -> bool {
    error.is_connect() && chain(error).contains(NO_TUNNEL)
}

/// A request that got no answer.
pub(super) struct Failure<'a> {
    /// Without the URL, which can hold secrets.
    pub(super) error: reqwest::Error,
    /// The endpoint, and the proxy in front of it.
    pub(super) route: &'a str,
    pub(super) connect_timeout: Duration,
    /// The variable or key that named the proxy.
    pub(super) proxy: Option<&'static str>,
    /// The status with which the proxy refuses a tunnel, if it does.
    pub(super) refusal: Option<u16>,
}

impl Failure<'_> {
    /// Reports to `progress` if nothing can be billed, although the whole request may have been sent.
    pub(super) fn explain(self, upload: &Upload, progress: &Progress<'_>) -> ModelError {
        if self.error.is_connect() || self.error.is_builder() {
            return self.not_connected();
        }
        if causes(&self.error).any(is_not_http) {
            progress.nothing_to_bill();
            return self.misconnected(
                MisconnectedKind::NotHttp,
                format!("that port doesn't speak HTTP: {}", chain(&self.error)),
                "check the scheme and the port of `[model] base_url`: is it https://?".to_owned(),
            );
        }
        let is_just_sent = upload.completed_at().is_some_and(|at| at.elapsed() <= CLOSE_IN_FLIGHT);
        if is_just_sent && causes(&self.error).any(is_close) {
            progress.nothing_to_bill();
        }
        ModelError::Connection {
            endpoint: self.route.to_owned(),
            reason: chain(&self.error),
        }
    }

    fn not_connected(self) -> ModelError {
        let certificate = causes(&self.error)
            .filter_map(|cause| cause.downcast_ref::<io::Error>())
            .find_map(|error| certificate::misconnected(error, self.route));
        if let Some(misconnected) = certificate {
            return ModelError::Misconnected(Box::new(misconnected));
        }
        let reason = match self.error.is_timeout() {
            true => format!("no connection within {:?}", self.connect_timeout),
            false => chain(&self.error),
        };
        match self.proxy {
            Some(source) if reason.contains(PROXY_WANTS_CREDENTIALS) => self.misconnected(
                MisconnectedKind::Proxy,
                format!("the proxy makes no tunnel: {PROXY_WANTS_CREDENTIALS}"),
                format!("put the user name and the password for the proxy into {source}"),
            ),
            Some(source) if reason.contains(NO_TUNNEL) => self.no_tunnel(source),
            _ => ModelError::Connect {
                endpoint: self.route.to_owned(),
                reason,
            },
        }
    }

    /// A proxy that doesn't let requests to this server pass won't do so later either.
    fn no_tunnel(&self, source: &str) -> ModelError {
        match self.refusal {
            Some(status @ 400..500) => self.misconnected(
                MisconnectedKind::Proxy,
                format!("the proxy refuses the tunnel: HTTP {status}"),
                format!("have the proxy let requests to this server pass, or name another one in {source}"),
            ),
            status => ModelError::Connect {
                endpoint: self.route.to_owned(),
                reason: match status {
                    Some(status) => format!("the proxy makes no tunnel: HTTP {status}"),
                    None => "the proxy makes no tunnel".to_owned(),
                },
            },
        }
    }

    fn misconnected(&self, kind: MisconnectedKind, reason: String, hint: String) -> ModelError {
        ModelError::Misconnected(Box::new(Misconnected {
            kind,
            endpoint: self.route.to_owned(),
            reason,
            hint,
        }))
    }
}

/// An error and everything behind it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // The source of an I/O error is not the error inside it, but the source of that one.
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inside
            .map(|inside| inside as &(dyn Error + 'static))
            .or_else(|| error.source())
    })
}

/// The answer doesn't begin like HTTP. What is wrong later in a head has the same kind in the library, so its words decide.
fn is_not_http(error: &(dyn Error + 'static)) -> bool {
    let error = error.downcast_ref::<hyper::Error>().filter(|error| error.is_parse());
    error.is_some_and(|error| error.to_string().contains("HTTP version"))
}

/// The server closed or reset the connection instead of answering.
fn is_close(error: &(dyn Error + 'static)) -> bool {
    let is_incomplete = error
        .downcast_ref::<hyper::Error>()
        .is_some_and(hyper::Error::is_incomplete_message);
    let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
    is_incomplete
        || matches!(
            kind,
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe)
        )
}

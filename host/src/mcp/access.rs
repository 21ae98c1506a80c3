//! Who may use the server over HTTP. One check for every request, whatever its path.

use std::net::SocketAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, StatusCode, Uri};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::secret::Secret;

/// The names of this machine that a request may be addressed to if the server listens on loopback only.
const LOOPBACK_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Why a server isn't started with these settings.
#[derive(Debug, Error)]
pub enum AccessError {
    #[error("{0} can be reached from other machines, and there is no token")]
    NoToken(SocketAddr),
    #[error("the token is empty or has characters other than visible ASCII")]
    BadToken,
}

impl AccessError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoToken(_) => "listen on 127.0.0.1, or name a variable that holds a token with --token-env",
            Self::BadToken => "set the variable to the token alone, on one line",
        }
    }
}

/// What a request must show. The `Host` header is checked because a web page can have its own name resolve to this machine
/// (DNS rebinding), the `Origin` header because a page can also send requests to it directly.
#[derive(Debug)]
pub struct Access {
    /// The token's digest. Comparing digests takes the same time wherever two tokens differ.
    token: Option<[u8; 32]>,
    /// In lower case, without port.
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Access {
    /// `hosts` are names that the server may be addressed by, beside the address that it listens on. `origins` are the web
    /// pages, as `scheme://host[:port]`, that may use it. Without any, no page may.
    ///
    /// # Errors
    ///
    /// There is no token although `listen` isn't a loopback address, or it can't be sent in a header.
    pub fn new(
        listen: SocketAddr,
        token: Option<&Secret>,
        hosts: Vec<String>,
        origins: Vec<String>,
    ) -> Result<Self, AccessError> {
        if token.is_some_and(|token| token.is_empty() || !token.is_visible_ascii()) {
            return Err(AccessError::BadToken);
        }
        let is_loopback = listen.ip().is_loopback();
        if token.is_none() && !is_loopback {
            return Err(AccessError::NoToken(listen));
        }
        let own = match listen {
            SocketAddr::V4(address) => address.ip().to_string(),
            SocketAddr::V6(address) => format!("[{}]", address.ip()),
        };
        let loopback = LOOPBACK_HOSTS
            .iter()
            .filter(|_| is_loopback)
            .map(|host| (*host).to_owned());
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase());
        Ok(Self {
            token: token.map(|token| digest(token.expose())),
            hosts: loopback.chain([own]).chain(hosts).collect(),
            origins: origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
        })
    }

    /// Refuses a request with a status and a sentence.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = uri.authority().map(http::uri::Authority::as_str).or_else(|| text(HOST));
        let host = host.map(|host| without_port(host).to_ascii_lowercase());
        if !host.is_some_and(|host| self.hosts.contains(&host)) {
            let reason = "this server isn't addressed by that host name; start it with --allow-host NAME";
            return Err((StatusCode::FORBIDDEN, reason.to_owned()));
        }
        if let Some(origin) = text(ORIGIN)
            && !self.allows_origin(origin)
        {
            let reason = "this server isn't for web pages of that origin; start it with --allow-origin ORIGIN";
            return Err((StatusCode::FORBIDDEN, reason.to_owned()));
        }
        Ok(())
    }

    /// Whether the request has the token, if one is needed. Requests that ask for leave only, before the real one, have none.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), (StatusCode, String)> {
        let Some(expected) = &self.token else { return Ok(()) };
        let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = sent.and_then(|sent| {
            let (scheme, token) = sent.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        match token {
            Some(token) if digest(token) == *expected => Ok(()),
            _ => Err((
                StatusCode::UNAUTHORIZED,
                "send the token as `Authorization: Bearer TOKEN`".to_owned(),
            )),
        }
    }

    pub(super) fn allows_origin(&self, origin: &str) -> bool {
        self.origins.contains(&origin.to_ascii_lowercase())
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    fn status(access: &Access, headers: &[(http::HeaderName, &str)]) -> u16 {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        let checked = access.check(&Uri::from_static("/mcp"), &headers);
        match checked.and_then(|()| access.check_token(&headers)) {
            Ok(()) => 200,
            Err((status, _)) => status.as_u16(),
        }
    }

    #[test]
    fn only_requests_for_this_machine_pass() {
        let access = Access::new(
            "127.0.0.1:80".parse().unwrap(),
            None,
            vec!["Tools.example".into()],
            vec![],
        )
        .unwrap();
        for (host, expected) in [
            ("127.0.0.1", 200),
            ("127.0.0.1:8811", 200),
            ("localhost:1", 200),
            ("[::1]:1", 200),
            ("tools.EXAMPLE:443", 200),
            ("attacker.example", 403),
            ("127.0.0.1.attacker.example", 403),
            ("localhost:1:2", 403),
            ("", 403),
        ] {
            assert_eq!(status(&access, &[(HOST, host)]), expected, "{host}");
        }
        assert_eq!(status(&access, &[]), 403);
    }

    #[test]
    fn only_allowed_pages_pass() {
        let origins = vec!["http://localhost:6274".to_owned()];
        let access = Access::new("[::1]:80".parse().unwrap(), None, vec![], origins).unwrap();
        for (origin, expected) in [("http://localhost:6274", 200), ("http://localhost", 403), ("null", 403)] {
            assert_eq!(
                status(&access, &[(HOST, "[::1]"), (ORIGIN, origin)]),
                expected,
                "{origin}"
            );
        }
    }

    #[test]
    fn the_token_is_needed_where_it_is_set_and_beyond_this_machine() {
        let token = Secret::new("t0ken");
        let access = Access::new("192.0.2.1:80".parse().unwrap(), Some(&token), vec![], vec![]).unwrap();
        for (authorization, expected) in [
            ("Bearer t0ken", 200),
            ("bearer  t0ken", 200),
            ("Bearer t0ke", 401),
            ("Bearer t0ken2", 401),
            ("Basic t0ken", 401),
            ("t0ken", 401),
        ] {
            let headers = [(HOST, "192.0.2.1"), (AUTHORIZATION, authorization)];
            assert_eq!(status(&access, &headers), expected, "{authorization}");
        }
        assert_eq!(status(&access, &[(HOST, "192.0.2.1")]), 401);
        for listen in ["0.0.0.0:80", "192.0.2.1:80", "[::]:80"] {
            let refused = Access::new(listen.parse().unwrap(), None, vec![], vec![]);
            assert!(matches!(refused, Err(AccessError::NoToken(_))), "{listen}");
        }
        let refused = Access::new(
            "127.0.0.1:80".parse().unwrap(),
            Some(&Secret::new("a b")),
            vec![],
            vec![],
        );
        assert!(matches!(refused, Err(AccessError::BadToken)));
    }
}

//! The proxy between this machine and the model's API: which one applies.

use std::fmt;
use std::time::Duration;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use url::Url;

use super::super::is_loopback;
use super::error::display_url;

/// The most bytes of a status line that are read.
const MAX_STATUS_LINE: u64 = 1_024;

/// Whether requests pass through a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ProxySetting {
    /// The proxy that the environment's variables name, as curl reads them. They never apply to this machine's own addresses.
    #[default]
    Environment,
    /// None, whatever the environment says.
    None,
    /// This one, for every address.
    Url(ProxyUrl),
}

/// The URL of a proxy. Its user name and password are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(Url);

impl ProxyUrl {
    /// # Errors
    ///
    /// Why the text isn't the URL of a proxy. The reason doesn't contain the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        // As in curl, a proxy without a scheme is an HTTP proxy.
        let with_scheme = match text.contains("://") {
            true => text.to_owned(),
            false => format!("http://{text}"),
        };
        let url = Url::parse(&with_scheme).map_err(|_| "isn't a URL")?;
        if !["http", "https", "socks5", "socks5h"].contains(&url.scheme()) {
            return Err("must start with http://, https://, socks5:// or socks5h://");
        }
        let is_bare = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        match url.host_str() {
            Some(host) if !host.is_empty() && is_bare => Ok(Self(url)),
            Some(host) if !host.is_empty() => Err("must not have a path"),
            _ => Err("has no host"),
        }
    }

    /// Asks the proxy for a tunnel to the server, and returns the status of its refusal. The HTTP library doesn't keep it. `None` if
    /// there is no refusal within `limit`, and for proxies that aren't asked in plain HTTP.
    pub(super) async fn refusal(&self, server: &Url, limit: Duration) -> Option<u16> {
        if self.0.scheme() != "http" {
            return None;
        }
        let ask = async {
            let host = self.0.host_str()?.trim_matches(['[', ']']);
            let mut stream = TcpStream::connect((host, self.0.port_or_known_default()?)).await.ok()?;
            let authority = format!("{}:{}", server.host_str()?, server.port_or_known_default()?);
            let request = format!(
                "CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{}\r\n",
                self.credentials()
            );
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut line = String::new();
            BufReader::new(stream.take(MAX_STATUS_LINE))
                .read_line(&mut line)
                .await
                .ok()?;
            let status = line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim().parse().ok()?;
            (status >= 300).then_some(status)
        };
        tokio::time::timeout(limit, ask).await.ok().flatten()
    }

    /// The header line of user name and password, if there are any.
    fn credentials(&self) -> String {
        let matcher = Matcher::builder().all(self.0.as_str()).build();
        let intercept = matcher.intercept(&Uri::from_static("http://server/"));
        let header = intercept.as_ref().and_then(Intercept::basic_auth);
        let header = header.and_then(|header| header.to_str().ok());
        header.map_or_else(String::new, |header| format!("Proxy-Authorization: {header}\r\n"))
    }

    /// For the HTTP library, which takes user name and password out of the URL.
    pub(super) fn as_url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_url(&self.0))
    }
}

/// A proxy, and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) url: ProxyUrl,
    /// The variable or key that named it.
    pub(super) source: &'static str,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {:?} ({})", self.url, self.source)
    }
}

/// A variable that should name a proxy, and doesn't.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadProxy {
    pub(super) source: &'static str,
    pub(super) problem: &'static str,
}

/// The proxy for requests to `url`. `variable` reads the environment; an empty variable counts as unset.
pub(super) fn choose(
    setting: &ProxySetting,
    url: &Url,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, BadProxy> {
    const HTTP: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
    const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
    match setting {
        ProxySetting::None => return Ok(None),
        ProxySetting::Url(url) => {
            let (url, source) = (url.clone(), "`[model] proxy`");
            return Ok(Some(Proxy { url, source }));
        }
        ProxySetting::Environment => {}
    }
    let variable = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let names = match url.scheme() {
        "https" => HTTPS,
        _ => HTTP,
    };
    // In a CGI program, the header `Proxy` of a request sets HTTP_PROXY.
    let is_cgi = variable("REQUEST_METHOD").is_some();
    let mut named = names
        .into_iter()
        .filter(|name| !(is_cgi && *name == "HTTP_PROXY"))
        .filter_map(|name| Some((name, variable(name)?)));
    let Some((source, value)) = named.next() else {
        return Ok(None);
    };
    let exceptions = ["no_proxy", "NO_PROXY"].into_iter().find_map(variable);
    if is_loopback(url) || exceptions.is_some_and(|exceptions| is_exempt(url, &exceptions)) {
        return Ok(None);
    }
    let url = ProxyUrl::parse(&value).map_err(|problem| BadProxy { source, problem })?;
    Ok(Some(Proxy { url, source }))
}

/// Whether `NO_PROXY` names the host: `*`, a domain with its subdomains, an address or a network, each with or without a port.
fn is_exempt(url: &Url, exceptions: &str) -> bool {
    let own_port = url.port_or_known_default();
    let entries = exceptions.split([',', ' ']).map(str::trim).filter_map(|entry| {
        let entry = entry.strip_prefix("*.").unwrap_or(entry);
        match entry.rsplit_once(':') {
            // An IPv6 address has more than one colon.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                let is_own = port.parse().ok() == own_port;
                is_own.then(|| host.trim_matches(['[', ']']).to_owned())
            }
            _ => Some(entry.to_owned()),
        }
    });
    let exceptions: Vec<String> = entries.collect();
    let matcher = Matcher::builder().all("http://proxy").no(exceptions.join(",")).build();
    let uri = Uri::try_from(url.as_str());
    uri.is_ok_and(|uri| matcher.intercept(&uri).is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ELSEWHERE: &str = "https://api.example.com/v1";

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let proxy = choose(&ProxySetting::Environment, &Url::parse(url).unwrap(), variable).unwrap();
        proxy.map(|proxy| format!("{:?} {}", proxy.url, proxy.source))
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let https = ("HTTPS_PROXY", "http://p:1");
        for (url, variables, proxy) in [
            (ELSEWHERE, &[][..], None),
            (ELSEWHERE, &[https], Some("http://p:1 HTTPS_PROXY")),
            (
                ELSEWHERE,
                &[https, ("https_proxy", "q:2")],
                Some("http://q:2 https_proxy"),
            ),
            (ELSEWHERE, &[https, ("https_proxy", "")], Some("http://p:1 HTTPS_PROXY")),
            (ELSEWHERE, &[("HTTP_PROXY", "http://p:1")], None),
            (
                ELSEWHERE,
                &[("ALL_PROXY", "socks5h://s")],
                Some("socks5h://s ALL_PROXY"),
            ),
            (
                ELSEWHERE,
                &[https, ("ALL_PROXY", "http://a")],
                Some("http://p:1 HTTPS_PROXY"),
            ),
            ("http://gateway", &[https], None),
            ("http://gateway", &[("HTTP_PROXY", "p")], Some("http://p HTTP_PROXY")),
            (
                "http://gateway",
                &[("HTTP_PROXY", "p"), ("REQUEST_METHOD", "GET")],
                None,
            ),
            // Exceptions
            (ELSEWHERE, &[https, ("NO_PROXY", "*")], None),
            (ELSEWHERE, &[https, ("NO_PROXY", "other.com, example.com")], None),
            (ELSEWHERE, &[https, ("no_proxy", ".example.com")], None),
            (ELSEWHERE, &[https, ("no_proxy", "*.example.com")], None),
            (ELSEWHERE, &[https, ("no_proxy", "api.example.com:443")], None),
            (
                ELSEWHERE,
                &[https, ("no_proxy", "api.example.com:80")],
                Some("http://p:1 HTTPS_PROXY"),
            ),
            (
                ELSEWHERE,
                &[https, ("NO_PROXY", "ample.com,")],
                Some("http://p:1 HTTPS_PROXY"),
            ),
            ("https://10.1.2.3", &[https, ("NO_PROXY", "10.0.0.0/8")], None),
            // This machine needs no proxy.
            ("https://127.0.0.1:8443", &[https], None),
            ("https://localhost:8443", &[https], None),
        ] {
            assert_eq!(chosen(url, variables).as_deref(), proxy, "{url} {variables:?}");
        }
    }

    #[test]
    fn a_setting_overrides_the_environment() {
        let url = Url::parse("https://127.0.0.1").unwrap();
        let environment = |_: &str| Some("http://environment".to_owned());
        assert_eq!(choose(&ProxySetting::None, &url, environment), Ok(None));
        let own = ProxySetting::Url(ProxyUrl::parse("p:1").unwrap());
        let proxy = choose(&own, &url, environment).unwrap().unwrap();
        assert_eq!(proxy.to_string(), "the proxy http://p:1 (`[model] proxy`)");
    }

    #[test]
    fn a_bad_variable_is_an_error() {
        let url = Url::parse(ELSEWHERE).unwrap();
        let bad = choose(&ProxySetting::Environment, &url, |name| {
            (name == "HTTPS_PROXY").then(|| "ftp://u:hunter2@p".to_owned())
        })
        .unwrap_err();
        assert_eq!(bad.source, "HTTPS_PROXY");
        assert!(!bad.problem.contains("hunter2"));
    }

    #[test]
    fn credentials_are_never_shown() {
        let url = ProxyUrl::parse("u%40x:p+w%3A@proxy:3128").unwrap();
        assert_eq!(format!("{url:?}"), "http://proxy:3128");
        for (text, problem) in [
            ("", "URL"),
            ("ftp://x", "http://"),
            ("http://x/path", "path"),
            ("http://x y", "URL"),
            ("socks4://x", "socks5"),
        ] {
            assert!(ProxyUrl::parse(text).unwrap_err().contains(problem), "{text}");
        }
    }
}

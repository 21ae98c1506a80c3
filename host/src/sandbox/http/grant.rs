//! One entry of a plugin's allow-list.

use std::net::IpAddr;

use url::{Host, Url};

use super::attach::AttachedHeader;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn of(url: &Url) -> Option<Self> {
        match url.scheme() {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }
}

/// Requests to one origin, below one path, with the listed methods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    pub scheme: Scheme,
    /// Lower case, an IP literal in its canonical form.
    pub host: String,
    pub port: u16,
    /// Starts with `/`. Covers itself and everything below it: `/v1` allows `/v1` and `/v1/x`, not `/v10`.
    pub path_prefix: String,
    /// Upper case.
    pub methods: Vec<String>,
    /// Added to every request. The guest doesn't see them.
    pub headers: Vec<AttachedHeader>,
}

/// Why an entry of an allow-list is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    #[error("`{0}` is not a URL: {1}")]
    NotAUrl(String, String),
    #[error("`{0}` has a `*`, but a grant names one host, and covers every path below its own")]
    Wildcard(String),
    #[error("`{0}` must start with http:// or https://")]
    Scheme(String),
    #[error("`{0}` names no host")]
    NoHost(String),
    #[error("`{0}` must not hold a user name, a password, a query or a fragment")]
    Extra(String),
    #[error(
        "`{0}` must not hold an encoded slash, backslash or dot in its path, nor signs outside ASCII other than letters"
    )]
    EncodedPath(String),
    #[error("`{0}` is not an HTTP method that can be granted")]
    Method(String),
    #[error("no method is granted for `{0}`")]
    NoMethods(String),
}

impl HttpGrant {
    /// Reads `scheme://host[:port][/path-prefix]` and the methods to allow there.
    ///
    /// # Errors
    ///
    /// For anything that a grant can't contain: another scheme, no host, user information, a query, an unknown method.
    pub fn parse<M: AsRef<str>>(text: &str, methods: &[M]) -> Result<Self, GrantError> {
        // It would never match anything.
        if text.contains('*') {
            return Err(GrantError::Wildcard(text.to_owned()));
        }
        let url = Url::parse(text).map_err(|error| GrantError::NotAUrl(text.to_owned(), error.to_string()))?;
        let scheme = Scheme::of(&url).ok_or_else(|| GrantError::Scheme(text.to_owned()))?;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(GrantError::NoHost(text.to_owned()));
        };
        // `.` is the DNS root, not a host, and `a..` isn't a valid name.
        let host = canonical_host(&host);
        if host.is_empty() || host.ends_with('.') {
            return Err(GrantError::NoHost(text.to_owned()));
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(GrantError::Extra(text.to_owned()));
        }
        if is_ambiguous(url.path()) {
            return Err(GrantError::EncodedPath(text.to_owned()));
        }
        let methods = methods
            .iter()
            .map(|method| grantable(method.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        if methods.is_empty() {
            return Err(GrantError::NoMethods(text.to_owned()));
        }
        Ok(Self {
            scheme,
            host,
            port,
            path_prefix: url.path().to_owned(),
            methods,
            headers: Vec::new(),
        })
    }

    /// The origin and path, as [`HttpGrant::parse`] reads them, without the scheme's default port.
    pub fn url(&self) -> String {
        let Self {
            scheme,
            host,
            port,
            path_prefix,
            ..
        } = self;
        let port = match (scheme, port) {
            (Scheme::Http, 80) | (Scheme::Https, 443) => String::new(),
            (_, port) => format!(":{port}"),
        };
        format!("{}://{host}{port}{path_prefix}", scheme.as_str())
    }

    /// Whether `method` on `url` is covered. `url` must be parsed, so that its path holds no dot segments.
    pub(super) fn covers(&self, method: &str, url: &Url) -> bool {
        self.covers_origin(url) && self.methods.iter().any(|granted| granted == method) && self.covers_path(url.path())
    }

    /// Whether `method` is granted for some path of the server that this URL names.
    pub fn reaches(&self, method: &str, url: &str) -> bool {
        let is_granted = self.methods.iter().any(|granted| granted == method);
        is_granted && Url::parse(url).is_ok_and(|url| self.covers_origin(&url))
    }

    /// Whether the grant sends a secret unencrypted over a network.
    pub fn sends_secrets_in_the_clear(&self) -> bool {
        self.scheme == Scheme::Http && !self.is_loopback() && self.headers.iter().any(AttachedHeader::has_secret)
    }

    fn is_loopback(&self) -> bool {
        let address = self.host.trim_matches(['[', ']']).parse::<IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    pub(super) fn covers_origin(&self, url: &Url) -> bool {
        Scheme::of(url) == Some(self.scheme)
            && url.host().is_some_and(|host| canonical_host(&host) == self.host)
            && url.port_or_known_default() == Some(self.port)
    }

    fn covers_path(&self, path: &str) -> bool {
        // A server could resolve an ambiguous path to one outside the prefix.
        self.path_prefix == "/" || (self.is_below_prefix(path) && !is_ambiguous(path))
    }

    fn is_below_prefix(&self, path: &str) -> bool {
        let rest = path.strip_prefix(&self.path_prefix);
        rest.is_some_and(|rest| rest.is_empty() || self.path_prefix.ends_with('/') || rest.starts_with('/'))
    }

    /// Whether the URL is refused only because its path is ambiguous.
    pub(super) fn covers_but_for_signs(&self, url: &Url) -> bool {
        self.covers_origin(url) && self.is_below_prefix(url.path()) && !self.covers_path(url.path())
    }

    /// Whether the operator named exactly this address, which permits it even if it is private.
    pub(super) fn names_address(&self, address: IpAddr) -> bool {
        if self.host == "localhost" {
            return address.is_loopback();
        }
        self.host.trim_matches(['[', ']']).parse() == Ok(address)
    }
}

/// `GET|POST https://host/path`, and the names of attached headers.
impl std::fmt::Display for HttpGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.methods.join("|"), self.url())?;
        let names: Vec<&str> = self.headers.iter().map(AttachedHeader::name).collect();
        match names.is_empty() {
            true => Ok(()),
            false => write!(f, " with {}", names.join(", ")),
        }
    }
}

/// The host as a URL writes it: IPv6 in brackets, names in lower case without a trailing dot.
pub(super) fn canonical_host(host: &Host<&str>) -> String {
    let text = host.to_string();
    text.strip_suffix('.').map_or(text.clone(), str::to_owned)
}

/// Whether a server that decodes the path, once or repeatedly, could resolve it to another one.
fn is_ambiguous(path: &str) -> bool {
    let mut decoded: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path.bytes() {
        decoded.push(byte);
        // A decoded byte can complete another escape.
        while let [.., b'%', high, low] = decoded[..]
            && let (Some(high), Some(low)) = (char::from(high).to_digit(16), char::from(low).to_digit(16))
        {
            let byte = u8::try_from(high * 16 + low).unwrap_or_default();
            if matches!(byte, b'/' | b'\\' | b'.') {
                return true;
            }
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    // `%u002e` also encodes a dot, and a lenient server can read overlong, invalid UTF-8 as one. Servers that fold characters
    // read a full-width dot as a dot, and drop invisible ones. No letter of any script folds to a dot or a slash.
    let is_plain = |sign: char| matches!(sign, ' '..='~') || (!sign.is_ascii() && sign.is_alphabetic());
    let is_readable = std::str::from_utf8(&decoded).is_ok_and(|text| text.chars().all(is_plain));
    if !is_readable || decoded.windows(2).any(|pair| pair.eq_ignore_ascii_case(b"%u")) {
        return true;
    }
    // `/v1/..;x/admin`: some servers cut a segment at `;` or the like, or trim it, and what is left leads up.
    let mut segments = decoded.split(|byte| *byte == b'/');
    segments.any(|segment| {
        let name = segment.split(|byte| b";\0?#".contains(byte)).next().unwrap_or_default();
        matches!(name.trim_ascii(), b"." | b"..")
    })
}

/// Refuses CONNECT, which would open a tunnel, and TRACE, which would echo attached headers.
fn grantable(method: &str) -> Result<String, GrantError> {
    match method.to_ascii_uppercase().as_str() {
        upper @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "PATCH" | "OPTIONS") => Ok(upper.to_owned()),
        _ => Err(GrantError::Method(method.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn covers(grant: &str, method: &str, url: &str) -> bool {
        HttpGrant::parse(grant, &["GET"])
            .unwrap()
            .covers(method, &Url::parse(url).unwrap())
    }

    #[test]
    fn only_the_granted_origin_path_and_method() {
        let grant = "https://api.example.com/v1";
        for url in [
            "https://api.example.com/v1",
            "https://API.example.com:443/v1/x?q=1",
            "https://api.example.com/v1/100%25/%C3%A9t%C3%A9%20a;b",
            "https://api.example.com/v1/\u{6771}\u{4eac}/(x)'!*,;:@&=+$|[]{}^`-._~",
            "https://api.example.com./v1/",
        ] {
            assert!(covers(grant, "GET", url), "{url}");
        }
        for url in [
            "http://api.example.com/v1",
            "https://api.example.com:8443/v1",
            "https://api.example.com.evil.test/v1",
            "https://evil.test/v1",
            "https://api.example.com/v10",
            "https://api.example.com/v1/../admin",
            "https://api.example.com/v1/%2e%2e/admin",
            "https://api.example.com/v1/..%2fadmin",
            "https://api.example.com/v1/..;x/admin",
            "https://api.example.com/v1/..%3Bx/admin",
            "https://api.example.com/v1/%252e%252E%25252fadmin",
            "https://api.example.com/v1/%25%32%65%25%32%65/admin",
            "https://api.example.com/v1/%2%66admin",
            "https://api.example.com/v1/..%00/admin",
            "https://api.example.com/v1/%c0%ae%c0%ae/admin",
            "https://api.example.com/v1/%e0%80%ae%e0%80%ae/admin",
            "https://api.example.com/v1/%u002e%u002e/admin",
            "https://api.example.com/v1/..%20/admin",
            "https://api.example.com/v1/%%32%66admin",
            "https://api.example.com/v1/\u{ff0e}\u{ff0e}/admin",
            "https://api.example.com/v1/%EF%BC%8E%EF%BC%8E/admin",
            "https://api.example.com/v1/%25EF%25BC%258E%25EF%25BC%258E/admin",
            "https://api.example.com/v1/.\u{ad}./admin",
            "https://api.example.com/v1/x\u{2025}/\u{ff0f}admin",
            "https://api.example.com/v1/\u{2215}admin",
            "https://api.example.com/v1/%0d%0aadmin",
            "https://api.example.com/v1/x%09",
            "https://api.example.com/",
        ] {
            assert!(!covers(grant, "GET", url), "{url}");
        }
        assert!(!covers(grant, "POST", "https://api.example.com/v1"));
    }

    /// Each is decided in one pass.
    #[test]
    fn a_path_encoded_thousands_of_times_takes_one_pass() {
        let deep = format!("https://api.example.com/v1/%{}", "25".repeat(500_000));
        assert!(covers("https://api.example.com/v1", "GET", &deep));
        assert!(!covers("https://api.example.com/v1", "GET", &format!("{deep}2e")));
        let wide = format!("https://api.example.com/v1/{}", "%25".repeat(300_000));
        assert!(covers("https://api.example.com/v1", "GET", &wide));
    }

    #[test]
    fn addresses_are_compared_by_value() {
        for url in [
            "http://127.0.0.1:80/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
        ] {
            assert!(covers("http://127.0.0.1/", "GET", url), "{url}");
        }
        assert!(!covers("http://127.0.0.1/", "GET", "http://[::ffff:127.0.0.1]/"));
        assert!(covers("http://[::1]:8080/", "GET", "http://[0:0::1]:8080/x"));
    }

    #[test]
    fn a_literal_address_is_named_only_by_itself() {
        let grant = HttpGrant::parse("http://[::1]:8080/", &["GET"]).unwrap();
        assert!(grant.names_address("::1".parse().unwrap()));
        assert!(!grant.names_address("127.0.0.1".parse().unwrap()));
        let grant = HttpGrant::parse("http://localhost/", &["GET"]).unwrap();
        assert!(grant.names_address("127.0.0.1".parse().unwrap()));
        assert!(!grant.names_address("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn nonsense_is_refused() {
        for url in [
            "",
            "example.com",
            "ftp://x/",
            "https://",
            "https://u:p@x/",
            "https://x/?q",
            "https://x/#f",
            "https://x/a%2fb",
            "http:.//1270.0.1:8080/",
            "http://a../",
        ] {
            assert!(HttpGrant::parse(url, &["GET"]).is_err(), "{url}");
        }
        assert!(HttpGrant::parse("https://x/", &["CONNECT"]).is_err());
        assert!(HttpGrant::parse::<&str>("https://x/", &[]).is_err());
    }
}

//! Where a request goes. The URL that is authorised is the one that is sent.

use std::net::IpAddr;

use http::{HeaderValue, Request, Uri, header};
use rustls::pki_types::ServerName;
use url::{Host, Url};
use wasmtime_wasi_http::Error;

/// The request's URL as a browser would read it: one notation per address, no dot segments, lower-case host.
pub(super) fn canonical_url(uri: &Uri) -> Result<Url, String> {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    if authority.contains('@') {
        return Err("the request names a user in its authority".to_owned());
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let text = format!("{}://{authority}{path}", uri.scheme_str().unwrap_or_default());
    match Url::parse(&text) {
        Ok(url) if url.has_host() => Ok(url),
        Ok(_) => Err("the request names no host".to_owned()),
        Err(error) => Err(format!("the request's URL is not valid: {error}")),
    }
}

/// Puts the canonical target into the request, in the form that is sent to an origin server.
pub(super) fn prepare<B>(request: &mut Request<B>, url: &Url) -> Result<(), Error> {
    let target = match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    };
    *request.uri_mut() = target.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
    let host = url.host_str().unwrap_or_default();
    let host = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let host = HeaderValue::try_from(host).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}

pub(super) fn server_name(url: &Url) -> Result<ServerName<'static>, Error> {
    let name = match url.host().ok_or(Error::HttpRequestUriInvalid)? {
        Host::Ipv4(address) => ServerName::from(IpAddr::V4(address)),
        Host::Ipv6(address) => ServerName::from(IpAddr::V6(address)),
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?,
    };
    Ok(name)
}

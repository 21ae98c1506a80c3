//! What answers requests in place of the network. Only `tool check` sets one, in code: no key of a configuration leads here.

use http::Method;
use tokio::io::DuplexStream;
use url::Url;

/// Stands for every server that a guest of the sandbox asks for, whatever was granted. Nothing is resolved, and no connection leaves
/// the process. Limits, masks and the rules for methods and headers apply as usual.
pub(crate) trait Upstream: Send + Sync + std::fmt::Debug {
    /// Opens a connection for one request, when the guest sends it. What it speaks is HTTP/1.1 without TLS, even for `https`.
    fn open(&self, method: &Method, url: &Url) -> DuplexStream;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use http::Request;
    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use wasmtime_wasi_http::{Error, WasiHttpHooks as _};

    use super::*;
    use crate::sandbox::fairness::{GuestMemory, Turns};
    use crate::sandbox::http::{Egress, HttpSetup, Masker, Network, lookups};
    use crate::sandbox::limits::Limits;

    /// Answers every request with 204.
    #[derive(Debug, Default)]
    struct Empty(Mutex<Vec<String>>);

    impl Upstream for Empty {
        fn open(&self, method: &Method, url: &Url) -> DuplexStream {
            self.0.lock().unwrap().push(format!("{method} {url}"));
            let (guest, mut server) = tokio::io::duplex(1024);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(server.read_u8().await.unwrap());
                }
                server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            });
            guest
        }
    }

    #[tokio::test]
    async fn it_stands_for_every_server_and_grants_no_other_methods() {
        let upstream = Arc::new(Empty::default());
        let network = Network {
            tls: crate::tls::client_config().unwrap(),
            lookups: lookups(),
            turns: Turns::new(),
            upstream: Some(upstream.clone()),
        };
        let account = network.turns.account(&"t".into());
        let setup = HttpSetup {
            grants: Vec::new(),
            limits: Limits::default(),
            masker: Masker::default(),
            network,
            memory: GuestMemory::new(None),
        };
        let mut egress = Egress::new(Arc::new(setup), "t".into(), account);
        let mut send = async |method: &str, url: &str| {
            let body = http_body_util::Empty::new().map_err(|never| match never {});
            let mut request = Request::new(body.boxed_unsync());
            *request.method_mut() = method.parse().unwrap();
            *request.uri_mut() = url.parse().unwrap();
            let done = Box::new(std::future::ready(Ok(())));
            let sent = Box::into_pin(egress.send_request(request, None, done)).await;
            sent.map(|(response, _)| response.status().as_u16())
        };
        for (method, url) in [
            ("GET", "https://nowhere.test/x?y=z"),
            ("POST", "http://169.254.169.254/"),
        ] {
            assert_eq!(send(method, url).await.unwrap(), 204, "{url}");
        }
        for method in ["CONNECT", "TRACE", "PROPFIND"] {
            let refused = send(method, "http://nowhere.test/").await;
            assert!(
                matches!(refused, Err(Error::HttpRequestDenied)),
                "{method}: {refused:?}"
            );
        }
        let opened = upstream.0.lock().unwrap().clone();
        assert_eq!(
            opened,
            ["GET https://nowhere.test/x?y=z", "POST http://169.254.169.254/"]
        );
    }
}

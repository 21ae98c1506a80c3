//! The provider `simulated`: it needs no key and sends nothing off this machine.

use cofferdam::simulator::Answer;
use cofferdam_tests::{KEY, finish};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::lab;

const SIMULATED: &str = "provider = \"simulated\"\n";

#[tokio::test]
async fn it_needs_no_key() {
    let lab = lab([Answer::text("From the simulator.")]);
    lab.configure(SIMULATED);
    let mut command = lab.command(["run", "Go."]);
    command.env_remove("ANTHROPIC_API_KEY");
    let ran = finish(command.spawn().unwrap()).await.expect_code(0);
    assert!(ran.stdout.contains("From the simulator."), "{ran}");
}

/// It costs nothing, so it doesn't count against the real budget.
#[tokio::test]
async fn it_has_a_ledger_of_its_own() {
    let lab = lab([Answer::text("Paid with nothing.").forever()]);
    lab.configure(SIMULATED);
    lab.call(["run", "Go."]).await.expect_code(0);
    let spent = async || {
        let budget = lab.call(["budget", "--output", "json"]).await.expect_code(0).json();
        let day = budget
            .as_array()
            .unwrap()
            .iter()
            .find(|scope| scope["scope"] == "host_day");
        day.unwrap()["spent_usd"].as_str().unwrap().to_owned()
    };
    assert_ne!(spent().await, "0.000000");
    lab.configure("");
    assert_eq!(spent().await, "0.000000");
}

/// Any process may be listening on that port.
#[tokio::test]
async fn it_never_receives_the_key() {
    let lab = lab([]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let received = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|four| four == b"\r\n\r\n") {
            assert_ne!(
                stream.read_buf(&mut request).await.unwrap(),
                0,
                "the request has no end"
            );
        }
        let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        String::from_utf8_lossy(&request).into_owned()
    });
    lab.write(
        "cofferdam.toml",
        format!("[model]\n{SIMULATED}base_url = \"http://{address}\"\n"),
    );
    lab.call(["run", "Go."]).await.expect_code(1);
    let request = received.await.unwrap();
    assert!(request.contains("x-api-key: simulated\r\n"), "{request}");
    assert!(!request.contains(KEY), "{request}");
}

#[tokio::test]
async fn it_connects_to_loopback_only() {
    let lab = lab([]);
    for base_url in ["", "base_url = \"https://api.anthropic.com\"\n"] {
        lab.write("cofferdam.toml", format!("[model]\n{SIMULATED}{base_url}"));
        let ran = lab.call(["run", "Go."]).await.expect_code(2);
        assert!(
            ran.stderr.contains("simulator") && ran.stderr.contains("`cofferdam simulate SCRIPT`"),
            "{ran}"
        );
    }
}

//! Faults of the connection: it isn't made, it breaks, it stalls, it speaks another protocol.

use std::time::Duration;

use cofferdam::config::Config;
use tokio::net::TcpSocket;

use super::fault::Money::{Exact, Full, Released};
use super::fault::{Expect, Fault};
use super::server::Step::{self, Drip, Fin, Flood, Hold, Read, Reset, SelfSigned, Send};
use super::wire::{self, EVENT_STREAM, LAST_CHUNK, chunk, stream_head};

/// How long the stalling rows wait for data.
const IDLE: Duration = Duration::from_millis(150);

pub(super) async fn faults() -> Vec<Fault> {
    [
        not_connected().await,
        other_protocols(),
        broken(),
        complete(),
        stalled(),
        endless(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

async fn not_connected() -> Vec<Fault> {
    // Bound, so that no other process can take the port, but not listening. It has to outlive the row.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    let unreachable = || Expect::gives_up("connect_failed", Released);
    vec![
        Fault::always(
            "a name that doesn't resolve",
            Vec::new(),
            unreachable().says(&["nowhere.invalid", "base_url"]).words_vary(),
        )
        .at("http://nowhere.invalid"),
        Fault::always(
            "connection refused",
            Vec::new(),
            unreachable().says(&["refused", "base_url"]).words_vary(),
        )
        .at(format!("http://127.0.0.1:{port}")),
    ]
}

/// Nothing changes until somebody changes the configuration, so there is no retry.
fn other_protocols() -> Vec<Fault> {
    let misconfigured = || Expect::fatal("", Released);
    vec![
        Fault::always(
            "a certificate that nobody trusts",
            vec![SelfSigned],
            misconfigured().says(&["certificate", "SSL_CERT_FILE"]),
        )
        .at("https://ADDRESS"),
        Fault::always(
            "https at a plain port",
            vec![
                Send(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n".to_vec()),
                Fin,
            ],
            misconfigured().says(&["TLS|https"]),
        )
        .at("https://ADDRESS"),
        Fault::always(
            "http at a TLS port",
            // The alert that a TLS library sends.
            vec![Read, Send(b"\x15\x03\x03\x00\x02\x02\x0a".to_vec()), Fin],
            misconfigured().says(&["TLS|https"]),
        ),
        Fault::always(
            "a server of another protocol",
            vec![Send(b"220 mail.example ESMTP\r\n".to_vec()), Read, Fin],
            misconfigured().says(&["HTTP"]),
        ),
    ]
}

/// The first attempt of each row loses its connection.
fn broken() -> Vec<Fault> {
    let head = || Send(stream_head(EVENT_STREAM));
    let part = || {
        Send(chunk(
            wire::start() + &wire::event("ping", &serde_json::json!({ "type": "ping" })),
        ))
    };
    let most = || Send(chunk(wire::start() + &wire::text(0, "Half of")));
    let without_stop = || {
        let end = serde_json::json!({ "stop_reason": "end_turn" });
        let usage = serde_json::json!({ "output_tokens": 5 });
        Send(chunk(
            wire::start() + &wire::text(0, "Half of") + &wire::delta(&end, &usage),
        ))
    };
    let broken = |name, before: Vec<Step>, end: Step, money| {
        Fault::once(name, [before, vec![end]].concat(), Expect::retried(money))
    };
    vec![
        // Not a byte of an answer came, at once: the request wasn't served.
        broken("reset instead of an answer", vec![Read], Reset, Released),
        broken("closed instead of an answer", vec![Read], Fin, Released),
        broken("closed before the request", vec![], Fin, Released),
        broken("reset before the request", vec![], Reset, Released),
        // Within a second of the request, the HTTP library doesn't tell a part of a head from none.
        broken(
            "reset within the head",
            vec![Read, Send(b"HTTP/1.1 200 OK\r\nconte".to_vec())],
            Reset,
            Released,
        ),
        broken(
            "closed within the head",
            vec![Read, Send(b"HTTP/1.1 200 OK\r\nconte".to_vec())],
            Fin,
            Released,
        ),
        broken("reset after the head", vec![Read, head()], Reset, Full),
        broken("closed after the head", vec![Read, head()], Fin, Full),
        broken("reset after the start", vec![Read, head(), part()], Reset, Full),
        broken("closed after the start", vec![Read, head(), part()], Fin, Full),
        broken("reset in the text", vec![Read, head(), most()], Reset, Full),
        broken("closed in the text", vec![Read, head(), most()], Fin, Full),
        broken(
            "reset before message_stop",
            vec![Read, head(), without_stop()],
            Reset,
            Full,
        ),
        broken(
            "closed before message_stop",
            vec![Read, head(), without_stop()],
            Fin,
            Full,
        ),
        broken(
            "a proper end without message_stop",
            vec![Read, head(), without_stop(), Send(LAST_CHUNK.to_vec())],
            Fin,
            Full,
        ),
        Fault::always(
            "cut for ever",
            vec![Read, head(), most(), Fin],
            Expect::gives_up("stream_cut", Full).says(&["gave up after 3 attempts", "cut off"]),
        ),
        Fault::always(
            "closed within the head for ever",
            // Within a second of the request, the HTTP library doesn't tell a part of a head from none.
            vec![Read, Send(b"HTTP/1.1 200 OK\r\nconte".to_vec()), Fin],
            Expect::gives_up("connection_lost", Released).says(&["broke before an answer"]),
        ),
    ]
}

/// Ends that leave the answer complete.
fn complete() -> Vec<Fault> {
    let answered = |name, script| Fault::always(name, script, Expect::answered());
    let head = || Send(stream_head(EVENT_STREAM));
    let events = wire::good_events();
    let unfinished = events.trim_end_matches('\n').to_owned();
    let whole = wire::whole(
        &serde_json::json!([{ "type": "text", "text": wire::ANSWER }]),
        "end_turn",
    )
    .to_string();
    vec![
        answered(
            "closed without a last chunk",
            vec![Read, head(), Send(chunk(&events)), Fin],
        ),
        answered(
            "reset after message_stop",
            vec![Read, head(), Send(chunk(&events)), Reset],
        ),
        answered(
            "a body as long as its connection",
            vec![
                Read,
                Send(format!("HTTP/1.1 200 OK\r\n{EVENT_STREAM}connection: close\r\n\r\n{events}").into_bytes()),
                Fin,
            ],
        ),
        // At a proper end, the last complete line counts.
        answered(
            "a last event without a blank line",
            vec![Read, Send(wire::streamed(format!("{unfinished}\n"))), Fin],
        ),
        answered(
            "a last event without a newline",
            vec![Read, Send(wire::streamed(&unfinished)), Fin],
        ),
        answered(
            "a whole answer where a stream was requested",
            vec![
                Read,
                Send(wire::http(200, "content-type: application/json\r\n", &whole)),
                Fin,
            ],
        ),
        Fault::once(
            "a whole answer that is cut",
            vec![
                Read,
                Send(
                    format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
                        whole.len(),
                        &whole[..99]
                    )
                    .into_bytes(),
                ),
                Fin,
            ],
            Expect::retried(Full),
        ),
        answered(
            "an answer a byte at a time",
            vec![Read, Drip(wire::good(), Duration::ZERO), Fin],
        ),
    ]
}

fn impatient(config: &mut Config) {
    config.model.idle_timeout = IDLE;
    config.retry.max_attempts = 2;
}

/// Every attempt stalls somewhere.
fn stalled() -> Vec<Fault> {
    let stalls = |name, script: Vec<Step>| {
        let expect = Expect::gives_up("stream_stalled", Full)
            .attempts(2)
            .delays([4..=4])
            .says(&["stalled", "idle_timeout"]);
        Fault::always(name, [vec![Read], script, vec![Hold]].concat(), expect).with(impatient)
    };
    let head = || Send(stream_head(EVENT_STREAM));
    let without_stop = wire::good_events().replace(&wire::stop(), "");
    vec![
        stalls("silence instead of an answer", vec![]),
        stalls(
            "silence within the head",
            vec![Send(b"HTTP/1.1 200 OK\r\nconte".to_vec())],
        ),
        stalls("silence after the head", vec![head()]),
        stalls("silence after the start", vec![head(), Send(chunk(wire::start()))]),
        stalls(
            "silence in the text",
            vec![head(), Send(chunk(wire::start() + &wire::text(0, "Half of")))],
        ),
        stalls(
            "silence within an event",
            vec![head(), Send(chunk(&wire::good_events()[..99]))],
        ),
        stalls("silence before message_stop", vec![head(), Send(chunk(without_stop))]),
        stalls(
            "a head a byte at a time",
            vec![Drip(stream_head(EVENT_STREAM), IDLE / 5)],
        ),
        Fault::always(
            "silence instead of an answer that isn't streamed",
            vec![Read, Hold],
            Expect::fatal("attempt_timeout", Full).says(&["attempt_timeout"]),
        )
        .with(|config| {
            config.model.stream = false;
            config.model.attempt_timeout = IDLE;
            config.retry.max_attempts = 1;
        }),
    ]
}

fn hurried(config: &mut Config) {
    config.model.attempt_timeout = Duration::from_millis(300);
    config.retry.max_attempts = 1;
}

/// A server that keeps sending ends too, by time or by bytes.
fn endless() -> Vec<Fault> {
    let head = |content_type: &str| Send(stream_head(content_type));
    let out_of_time = || Expect::fatal("attempt_timeout", Full).says(&["attempt_timeout"]);
    let flood = |name, piece: Vec<u8>, delay: u64, expect| {
        let flood = Flood(chunk(piece), Duration::from_millis(delay));
        Fault::always(
            name,
            vec![Read, head(EVENT_STREAM), Send(chunk(wire::start())), flood],
            expect,
        )
    };
    let ping = wire::event("ping", &serde_json::json!({ "type": "ping" }));
    // The longest answer, what the system's buffers hold, and a margin.
    let bounded = || {
        Expect::fatal("malformed_answer", Full)
            .reads_at_most(64 << 20)
            .says(&["too long"])
    };
    vec![
        flood("a flood of pings", ping.into_bytes(), 1, out_of_time()).with(hurried),
        flood("a flood of comments", b": still there\n\n".to_vec(), 1, out_of_time()).with(hurried),
        Fault::always(
            "a flood of informational heads",
            vec![
                Read,
                Flood(b"HTTP/1.1 102 Processing\r\n\r\n".to_vec(), Duration::from_millis(1)),
            ],
            out_of_time().any_ending(),
        )
        .with(hurried),
        flood("one endless line", vec![b'x'; 64 * 1024], 0, bounded()),
        flood(
            "one endless event",
            [b"data: ".to_vec(), vec![b'x'; 64 * 1024], b"\n".to_vec()].concat(),
            0,
            bounded(),
        ),
        flood(
            "an endless text",
            wire::text(0, &"x".repeat(64 * 1024)).into_bytes(),
            0,
            bounded(),
        ),
        Fault::always(
            "an endless document",
            vec![
                Read,
                head("content-type: application/json\r\n"),
                Flood(chunk(vec![b' '; 64 * 1024]), Duration::ZERO),
            ],
            bounded(),
        ),
        Fault::always(
            "a head of a megabyte",
            vec![
                Read,
                Send(
                    [
                        b"HTTP/1.1 200 OK\r\nx: ".to_vec(),
                        vec![b'x'; 1 << 20],
                        b"\r\n\r\n".to_vec(),
                    ]
                    .concat(),
                ),
                Fin,
            ],
            Expect::gives_up("", Full).any_ending().money(&[Full, Full, Full]),
        ),
        // Pings and comments between the events change nothing.
        Fault::always(
            "pings between the events",
            vec![
                Read,
                Send(wire::streamed(wire::good_events().replace(
                    "event: ",
                    "event: ping\ndata: {\"type\":\"ping\"}\n\n: x\n\nevent: ",
                ))),
                Fin,
            ],
            Expect::answered().money(&[Exact]),
        ),
    ]
}

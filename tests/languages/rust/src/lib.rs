//! The conformance project in Rust. `wit/probe.wit` says what each function is for.

use std::sync::atomic::{AtomicU32, Ordering};

wit_bindgen::generate!({ path: "wit", world: "tool", generate_all });

use exports::local::probe::probe::{Guest, Item, Problem};
use wasi::http::outgoing_handler;
use wasi::http::types::{ErrorCode, Fields, OutgoingRequest, Scheme};
use wasi::io::streams::StreamError;
use wasi::keyvalue::store;

struct Component;
export!(Component);

static COUNTER: AtomicU32 = AtomicU32::new(0);

impl Guest for Component {
    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    fn echo(item: Item) -> Result<Item, Problem> {
        match item.name.is_empty() {
            true => Err(Problem::InvalidInput("`name` is empty".to_owned())),
            false => Ok(item),
        }
    }

    fn counter() -> u32 {
        COUNTER.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn crash() {
        panic!("a crash on purpose");
    }

    fn spin() {
        loop {
            std::hint::black_box(());
        }
    }

    fn hoard(mebibytes: u32) -> u32 {
        let mut hoard = Vec::new();
        for _ in 0..mebibytes {
            hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
        hoard.len() as u32
    }

    fn read_file(path: String) -> Result<String, Problem> {
        std::fs::read_to_string(path).map_err(|error| Problem::Failed(error.to_string()))
    }

    fn remember(key: String, value: String) -> Result<(), Problem> {
        let bucket = store::open("").map_err(store_problem)?;
        bucket.set(&key, value.as_bytes()).map_err(store_problem)
    }

    fn recall(key: String) -> Result<Option<String>, Problem> {
        let bucket = store::open("").map_err(store_problem)?;
        let value = bucket.get(&key).map_err(store_problem)?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    }

    fn setting(key: String) -> Result<Option<String>, Problem> {
        wasi::config::store::get(&key).map_err(|error| Problem::Unavailable(format!("{error:?}")))
    }

    fn fetch(authority: String, path: String) -> Result<String, Problem> {
        let request = OutgoingRequest::new(Fields::new());
        let set = request
            .set_scheme(Some(&Scheme::Http))
            .and_then(|()| request.set_authority(Some(&authority)))
            .and_then(|()| request.set_path_with_query(Some(&path)));
        set.map_err(|()| Problem::InvalidInput("`authority` or `path` can't be part of a URL".to_owned()))?;
        let pending = outgoing_handler::handle(request, None).map_err(http_problem)?;
        pending.subscribe().block();
        let answer = pending.get().and_then(Result::ok);
        let answer = answer.unwrap_or(Err(ErrorCode::InternalError(None))).map_err(http_problem)?;
        let body = answer.consume().map_err(|()| http_problem(ErrorCode::InternalError(None)))?;
        let stream = body.stream().map_err(|()| http_problem(ErrorCode::InternalError(None)))?;
        let mut text = Vec::new();
        loop {
            match stream.blocking_read(1 << 16) {
                Ok(bytes) => text.extend(bytes),
                Err(StreamError::Closed) => return Ok(String::from_utf8_lossy(&text).into_owned()),
                Err(StreamError::LastOperationFailed(_)) => return Err(http_problem(ErrorCode::InternalError(None))),
            }
        }
    }
}

fn store_problem(error: store::Error) -> Problem {
    match error {
        store::Error::AccessDenied => Problem::Failed("access denied".to_owned()),
        error => Problem::Unavailable(format!("{error:?}")),
    }
}

fn http_problem(error: ErrorCode) -> Problem {
    match error {
        ErrorCode::HttpRequestDenied => Problem::Failed("access denied".to_owned()),
        _ => Problem::Unavailable("no answer".to_owned()),
    }
}

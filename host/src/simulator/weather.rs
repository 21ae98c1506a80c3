//! A simulated Open-Meteo: geocoding and forecast in one server, for a few cities whose weather never changes. The formats
//! follow the vendor's API documentation (open-meteo.com/en/docs).

mod cities;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::body::{BodyPlan, Part, PlannedBody};
use super::connection::{ConnectionControl, Handler, Server, read_body};
use cities::{CITIES, City};

const MAX_CONNECTIONS: usize = 256;
/// A request body has no meaning here and is only drained.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How the service behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeatherMode {
    #[default]
    Healthy,
    /// Every request fails with this HTTP status (400 to 599; anything else becomes 503).
    Down(u16),
    /// Healthy, after this delay.
    Slow(Duration),
    /// HTTP 200 with a body that isn't JSON.
    Garbage,
}

/// A running weather service. Dropping it stops it.
#[derive(Debug)]
pub struct WeatherService {
    state: Arc<State>,
    server: Server,
}

#[derive(Debug)]
struct State {
    mode: Mutex<WeatherMode>,
    requests: AtomicU64,
}

impl WeatherService {
    /// Starts the service on the current tokio runtime. `address` must be loopback (`127.0.0.1:0`: any free port).
    ///
    /// # Errors
    /// `InvalidInput` if the address isn't loopback. Otherwise the error from binding, or from the missing runtime.
    pub fn start(address: SocketAddr, mode: WeatherMode) -> io::Result<Self> {
        let state = Arc::new(State {
            mode: Mutex::new(mode),
            requests: AtomicU64::new(0),
        });
        let server = Server::start(address, MAX_CONNECTIONS, Arc::clone(&state))?;
        Ok(Self { state, server })
    }

    /// The base URL of both APIs, such as `http://127.0.0.1:40123`.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Applies to every request that arrives from now on.
    pub fn set_mode(&self, mode: WeatherMode) {
        *self.state.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }

    /// Number of requests received.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Stops listening and closes every connection.
    pub async fn shutdown(self) {
        self.server.shutdown().await;
    }
}

impl Handler for State {
    async fn handle(
        self: Arc<Self>,
        request: Request<Incoming>,
        control: Arc<ConnectionControl>,
    ) -> Response<PlannedBody> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (head, body) = request.into_parts();
        // Drain the body: unread bytes would break the connection.
        let _ = read_body(body, MAX_BODY_BYTES).await;
        let mode = *self.mode.lock().unwrap_or_else(PoisonError::into_inner);
        let (status, body) = match mode {
            WeatherMode::Garbage => (200, Bytes::from_static(b"\xff\xfe<html>it is raining cables</html>")),
            WeatherMode::Down(status) => {
                let status = if (400..=599).contains(&status) { status } else { 503 };
                (status, failure("The service is temporarily unavailable."))
            }
            WeatherMode::Healthy | WeatherMode::Slow(_) => {
                if let WeatherMode::Slow(pause) = mode {
                    tokio::time::sleep(pause).await;
                }
                match answer(
                    &head.method,
                    head.uri.path(),
                    &query(head.uri.query().unwrap_or_default()),
                ) {
                    Ok(body) => (200, Bytes::from(body.to_string())),
                    Err((status, reason)) => (status, failure(&reason)),
                }
            }
        };
        tracing::debug!(method = %head.method, path = head.uri.path(), status, "the weather service received a request");
        let mut response = Response::new(PlannedBody::new(BodyPlan::of(vec![Part::Data(body)]), control));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
        response
    }
}

type Query = HashMap<String, String>;

/// An HTTP status and the reason in the body.
type Refusal = (u16, String);

fn failure(reason: &str) -> Bytes {
    Bytes::from(json!({ "error": true, "reason": reason }).to_string())
}

fn query(text: &str) -> Query {
    url::form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn answer(method: &Method, path: &str, query: &Query) -> Result<Value, Refusal> {
    let answer = match path {
        "/v1/search" => search,
        "/v1/forecast" => forecast,
        _ => return Err((404, "Not Found".to_owned())),
    };
    if *method == Method::GET {
        answer(query)
    } else {
        Err((405, "Method Not Allowed".to_owned()))
    }
}

/// Geocoding. The answer for an unknown name has no `results`.
fn search(query: &Query) -> Result<Value, Refusal> {
    let Some(name) = query.get("name").map(|name| name.trim().to_lowercase()) else {
        return Err((400, "Value of type 'String' required for key 'name'.".to_owned()));
    };
    let count = match query.get("count") {
        None => 10,
        Some(count) => match count.parse::<usize>() {
            Ok(count @ 1..=100) => count,
            _ => return Err((400, "Parameter count must be between 1 and 100.".to_owned())),
        },
    };
    // The real service also matches prefixes of at least three characters.
    let matches = |city: &&City| {
        let known = city.name.to_lowercase();
        known == name || (name.chars().count() >= 3 && known.starts_with(&name))
    };
    let found: Vec<_> = CITIES.iter().filter(matches).take(count).map(City::place).collect();
    let mut answer = json!({ "generationtime_ms": 0.25 });
    if !found.is_empty() {
        answer["results"] = Value::Array(found);
    }
    Ok(answer)
}

/// The current weather at a position.
fn forecast(query: &Query) -> Result<Value, Refusal> {
    if let Some(unit) = query.keys().find(|key| key.ends_with("_unit")) {
        return Err((400, format!("The simulated service has metric units only, not {unit}.")));
    }
    let latitude = coordinate(query, "latitude", "Latitude", 90.0)?;
    let longitude = coordinate(query, "longitude", "Longitude", 180.0)?;
    let weather = cities::weather_at(latitude, longitude);
    // The real service returns the position of its grid cell, which differs slightly from the requested one.
    let mut answer = json!({
        "latitude": grid(latitude), "longitude": grid(longitude), "generationtime_ms": 0.05, "utc_offset_seconds": 0,
        "timezone": "GMT", "timezone_abbreviation": "GMT", "elevation": weather.elevation,
    });
    let Some(wanted) = query.get("current").filter(|wanted| !wanted.is_empty()) else {
        return Ok(answer);
    };
    let mut units = Map::from_iter([unit("time", "iso8601"), unit("interval", "seconds")]);
    let mut values = Map::from_iter([
        ("time".to_owned(), json!(quarter_hour(Timestamp::now()))),
        ("interval".to_owned(), json!(900)),
    ]);
    for variable in wanted.split(',') {
        let Some((value, name)) = weather.variable(variable) else {
            return Err((
                400,
                format!("Cannot initialize a weather variable from invalid String value {variable}."),
            ));
        };
        values.insert(variable.to_owned(), value);
        units.extend([unit(variable, name)]);
    }
    answer["current_units"] = Value::Object(units);
    answer["current"] = Value::Object(values);
    Ok(answer)
}

fn unit(variable: &str, name: &str) -> (String, Value) {
    (variable.to_owned(), Value::from(name))
}

fn coordinate(query: &Query, key: &str, title: &str, limit: f64) -> Result<f64, Refusal> {
    let value = query
        .get(key)
        .and_then(|value| value.parse::<f64>().ok())
        .filter(|value| value.is_finite());
    match value {
        None => Err((400, format!("Value of type 'Float' required for key '{key}'."))),
        Some(value) if value.abs() > limit => Err((
            400,
            format!("{title} must be in range of -{limit} to {limit}°. Given: {value}."),
        )),
        Some(value) => Ok(value),
    }
}

fn grid(coordinate: f64) -> f64 {
    (coordinate * 20.0).round() / 20.0
}

/// The time as the service reports it: UTC without a zone, rounded down to a quarter of an hour.
fn quarter_hour(now: Timestamp) -> String {
    let seconds = now.as_second();
    let floor = Timestamp::from_second(seconds - seconds.rem_euclid(900)).unwrap_or(now);
    TimeZone::UTC.to_datetime(floor).strftime("%Y-%m-%dT%H:%M").to_string()
}

#[cfg(test)]
mod tests;

//! Two questions and a sentence. Shapes: <https://open-meteo.com/en/docs> and <https://open-meteo.com/en/docs/geocoding-api>.

use std::ops::RangeInclusive;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::service::{Problem, Send, ask};

/// The longest text from a service that is passed on, in characters.
const MAX_NAME: usize = 100;

/// Where the two services are; without a path of their own after the base.
#[derive(Clone, Debug)]
pub struct Services {
    pub geocoding_url: String,
    pub forecast_url: String,
}

/// A place that the geocoding service knows.
#[derive(Debug)]
struct Place {
    name: String,
    latitude: f64,
    longitude: f64,
}

/// One sentence about the weather now in `location`.
pub fn current_weather(location: &str, services: &Services, send: &impl Send) -> Result<String, Problem> {
    let location = location.trim();
    if location.is_empty() {
        return Err(Problem::InvalidInput(
            "the location is empty: give the name of a city".to_owned(),
        ));
    }
    let place = find_place(location, services, send)?;
    let url = format!(
        "{}/v1/forecast?latitude={}&longitude={}&current=temperature_2m,relative_humidity_2m,weather_code,wind_speed_10m",
        services.forecast_url.trim_end_matches('/'),
        place.latitude,
        place.longitude
    );
    let answer = ask(send, "forecast", url)?;
    describe(&place.name, &answer["current"])
        .ok_or_else(|| Problem::Failed("the forecast service left out the current weather".to_owned()))
}

/// Looks the whole text up, then, for it knows names alone, what stands before the first comma ("Boston, MA").
fn find_place(location: &str, services: &Services, send: &impl Send) -> Result<Place, Problem> {
    let city = location.split(',').next().unwrap_or(location).trim();
    let candidates = if city.is_empty() || city == location {
        vec![location]
    } else {
        vec![location, city]
    };
    for name in candidates {
        let url = format!(
            "{}/v1/search?name={}&count=1&language=en&format=json",
            services.geocoding_url.trim_end_matches('/'),
            utf8_percent_encode(name, NON_ALPHANUMERIC)
        );
        let answer = ask(send, "geocoding", url)?;
        if let Some(result) = answer["results"].get(0) {
            return place(result).ok_or_else(|| {
                Problem::Failed("the geocoding service left out the name of the place, or where it is".to_owned())
            });
        }
    }
    Err(Problem::InvalidInput(format!(
        "no place named `{}` is known: give the name of a city, without street or state",
        printable(location)
    )))
}

fn place(result: &Value) -> Option<Place> {
    let latitude = result["latitude"].as_f64().filter(|degrees| degrees.abs() <= 90.0)?;
    let longitude = result["longitude"].as_f64().filter(|degrees| degrees.abs() <= 180.0)?;
    let text = |key: &str| {
        result[key]
            .as_str()
            .map(printable)
            .filter(|text| !text.trim().is_empty())
    };
    let mut parts = vec![text("name")?];
    for part in ["admin1", "country"].into_iter().filter_map(text) {
        // A city state carries its name in every field.
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    Some(Place {
        name: parts.join(", "),
        latitude,
        longitude,
    })
}

fn describe(place: &str, current: &Value) -> Option<String> {
    let temperature = within(&current["temperature_2m"], -100.0..=100.0)?;
    // Adding zero turns a rounded -0.0 into 0.0.
    let temperature = (temperature * 10.0).round() / 10.0 + 0.0;
    let mut sentence = format!("{place}: {temperature:.1} °C");
    if let Some(sky) = within(&current["weather_code"], 0.0..=99.0).and_then(sky) {
        sentence += &format!(", {sky}");
    }
    if let Some(wind) = within(&current["wind_speed_10m"], 0.0..=500.0) {
        sentence += &format!(", wind {wind:.0} km/h");
    }
    if let Some(humidity) = within(&current["relative_humidity_2m"], 0.0..=100.0) {
        sentence += &format!(", humidity {humidity:.0} %");
    }
    Some(sentence)
}

/// A number that weather on this planet can have.
fn within(value: &Value, range: RangeInclusive<f64>) -> Option<f64> {
    value.as_f64().filter(|value| range.contains(value))
}

/// The letters, digits and marks that names of places are made of. Whatever else a service sends, a model may read it as
/// something else than a name: what steers a terminal, turns the direction of writing or cannot be seen goes first.
fn printable(text: &str) -> String {
    // To Unicode the Hangul fillers are letters, though nobody sees them.
    let filler = |c: char| matches!(c, '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}');
    let belongs = |c: &char| (c.is_alphanumeric() && !filler(*c)) || " '’-.,()/&".contains(*c);
    text.chars().filter(belongs).take(MAX_NAME).collect()
}

/// WMO code table 4677, as far as Open-Meteo uses it.
fn sky(code: f64) -> Option<&'static str> {
    // The cast is exact: the code is between 0 and 99.
    Some(match code as u64 {
        0 => "clear sky",
        1 => "mainly clear",
        2 => "partly cloudy",
        3 => "overcast",
        45 | 48 => "fog",
        51 => "light drizzle",
        53 => "drizzle",
        55 => "dense drizzle",
        56 | 57 => "freezing drizzle",
        61 => "light rain",
        63 => "rain",
        65 => "heavy rain",
        66 | 67 => "freezing rain",
        71 => "light snow",
        73 => "snow",
        75 => "heavy snow",
        77 => "snow grains",
        80 => "light rain showers",
        81 => "rain showers",
        82 => "violent rain showers",
        85 | 86 => "snow showers",
        95 => "thunderstorm",
        96 | 99 => "thunderstorm with hail",
        _ => return None,
    })
}

//! Looks up a place and describes its weather in a sentence. Formats: <https://open-meteo.com/en/docs> and
//! <https://open-meteo.com/en/docs/geocoding-api>.

use std::ops::RangeInclusive;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::service::{Problem, Send, ask};

/// Texts from a service are truncated to this many characters.
const MAX_NAME: usize = 100;

/// The base URLs of the two services, without the API's path.
#[derive(Clone, Debug)]
pub struct Services {
    pub geocoding_url: String,
    pub forecast_url: String,
}

/// A place found by the geocoding service.
#[derive(Debug)]
struct Place {
    name: String,
    latitude: f64,
    longitude: f64,
}

/// Describes the current weather in `location` in one sentence.
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
}

/// Looks up the whole text, then the part before the first comma ("Boston, MA"), because the service knows plain names only.
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
        if !answer.is_object() || !(answer["results"].is_null() || answer["results"].is_array()) {
            return Err(Problem::Failed(
                "the geocoding service is out of order: its answer holds no list of results".to_owned(),
            ));
        }
        if let Some(result) = answer["results"].get(0) {
            return place(result);
        }
    }
    let shown = printable(location);
    Err(Problem::InvalidInput(format!(
        "no place named `{shown}` is known: give the name of a city, without street or state"
    )))
}

fn place(result: &Value) -> Result<Place, Problem> {
    let degrees = |key, limit: f64| {
        let value = measured("geocoding", result, key, -limit..=limit)?;
        value.ok_or_else(|| left_out("geocoding", key))
    };
    let (latitude, longitude) = (degrees("latitude", 90.0)?, degrees("longitude", 180.0)?);
    let text = |key: &str| Some(printable(result[key].as_str()?)).filter(|text| !text.is_empty());
    let mut parts = vec![text("name").ok_or_else(|| left_out("geocoding", "name"))?];
    for part in ["admin1", "country"].into_iter().filter_map(text) {
        // For a city state, all fields contain the same name.
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    Ok(Place {
        name: parts.join(", "),
        latitude,
        longitude,
    })
}

/// Fails without a temperature; other missing values are reported as unknown. A value far beyond the records on Earth means
/// that the service is broken, so none of its values can be trusted.
fn describe(place: &str, current: &Value) -> Result<String, Problem> {
    let value = |key, range| measured("forecast", current, key, range);
    let temperature = value("temperature_2m", -100.0..=70.0)?;
    let temperature = temperature.ok_or_else(|| left_out("forecast", "temperature_2m"))?;
    // Adding zero turns a rounded -0.0 into 0.0.
    let temperature = (temperature * 10.0).round() / 10.0 + 0.0;
    // JSON can contain a whole number as 3.0.
    let code = value("weather_code", 0.0..=99.0)?.filter(|code| code.fract() == 0.0);
    let sky = code.and_then(|code| sky(code as u8)).unwrap_or("sky unknown");
    let wind = match value("wind_speed_10m", 0.0..=600.0)? {
        Some(wind) => format!("wind {wind:.0} km/h"),
        None => "wind unknown".to_owned(),
    };
    let humidity = match value("relative_humidity_2m", 0.0..=100.0)? {
        Some(humidity) => format!("humidity {humidity:.0} %"),
        None => "humidity unknown".to_owned(),
    };
    Ok(format!("{place}: {temperature:.1} °C, {sky}, {wind}, {humidity}"))
}

/// The number `key` in the answer of `service`. `None` if it is absent, an error if it isn't a number in `range`.
fn measured(service: &str, from: &Value, key: &str, range: RangeInclusive<f64>) -> Result<Option<f64>, Problem> {
    if from[key].is_null() {
        return Ok(None);
    }
    match from[key].as_f64().filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(Problem::Failed(format!(
            "the {service} service is out of order: its `{key}` is no number from {} to {}",
            range.start(),
            range.end()
        ))),
    }
}

fn left_out(service: &str, key: &str) -> Problem {
    Problem::Failed(format!("the {service} service left out the `{key}`"))
}

/// The visible part of `text`, on one line and truncated. Data of a service can carry text aimed at the model, so nothing
/// passes that a person who checks the answer wouldn't see.
fn printable(text: &str) -> String {
    let visible: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control() && !is_invisible(*c))
        .take(MAX_NAME)
        .collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Unicode format characters (general category Cf: bidirectional overrides, zero-width characters, tags), other code points
/// that Unicode ignores in display (`Default_Ignorable_Code_Point`), and private-use characters.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
        | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

/// WMO code table 4677, as far as Open-Meteo uses it.
fn sky(code: u8) -> Option<&'static str> {
    Some(match code {
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

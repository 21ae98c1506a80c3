#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;

fn get(path: &str) -> Result<Value, Refusal> {
    let (path, text) = path.split_once('?').unwrap_or((path, ""));
    answer(&Method::GET, path, &query(text))
}

#[test]
fn a_city_is_found_by_its_name() {
    let found = get("/v1/search?name=boston&count=1").unwrap();
    let city = &found["results"][0];
    assert_eq!(city["name"], "Boston");
    assert_eq!(city["country"], "United States");
    assert_eq!(
        (city["latitude"].as_f64(), city["longitude"].as_f64()),
        (Some(42.35843), Some(-71.05977))
    );
    assert_eq!(
        get("/v1/search?name=S%C3%A3o%20Paulo").unwrap()["results"][0]["country_code"],
        "BR"
    );
    assert_eq!(get("/v1/search?name=New+Y").unwrap()["results"][0]["name"], "New York");
}

#[test]
fn an_unknown_city_has_no_results_at_all() {
    for name in ["Atlantis", "Bo", ""] {
        let found = get(&format!("/v1/search?name={name}&count=1")).unwrap();
        assert!(found.as_object().unwrap().get("results").is_none(), "{name}: {found}");
    }
}

#[test]
fn the_current_weather_has_values_and_units() {
    let found = get("/v1/forecast?latitude=42.35843&longitude=-71.05977\
         &current=temperature_2m,weather_code,wind_speed_10m,relative_humidity_2m")
    .unwrap();
    assert_eq!(found["current"]["temperature_2m"], 7.2);
    assert_eq!(found["current"]["weather_code"], 3);
    assert_eq!(found["current_units"]["wind_speed_10m"], "km/h");
    assert_eq!(found["current_units"]["temperature_2m"], "°C");
    assert_eq!(found["current"]["interval"], 900);
    assert!(
        get("/v1/forecast?latitude=0&longitude=0")
            .unwrap()
            .get("current")
            .is_none()
    );
}

#[test]
fn invalid_requests_are_refused_with_a_reason() {
    for (path, status, reason) in [
        ("/v1/search", 400, "required for key 'name'"),
        ("/v1/search?name=x&count=0", 400, "between 1 and 100"),
        ("/v1/forecast?latitude=1", 400, "required for key 'longitude'"),
        (
            "/v1/forecast?latitude=nan&longitude=1",
            400,
            "required for key 'latitude'",
        ),
        (
            "/v1/forecast?latitude=91&longitude=1",
            400,
            "Latitude must be in range of -90 to 90°. Given: 91.",
        ),
        (
            "/v1/forecast?latitude=1&longitude=1&current=mood",
            400,
            "invalid String value mood",
        ),
        (
            "/v1/forecast?latitude=1&longitude=1&temperature_unit=kelvin",
            400,
            "metric units only",
        ),
        ("/v1/other", 404, "Not Found"),
    ] {
        let refusal = get(path).unwrap_err();
        assert_eq!(refusal.0, status, "{path}");
        assert!(refusal.1.contains(reason), "{path}: {}", refusal.1);
    }
}

#[test]
fn the_time_is_rounded_down_to_a_quarter_of_an_hour() {
    let now: Timestamp = "2026-11-24T10:29:59Z".parse().unwrap();
    assert_eq!(quarter_hour(now), "2026-11-24T10:15");
}

//! The two questions against a server that is a closure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::RefCell;
use std::time::Duration;

use support::http::{Fault, Request, Response};
use weather::forecast::{Services, current_weather};
use weather::service::Problem;

const BOSTON: &str =
    r#"{"results":[{"name":"Boston","latitude":42.35843,"longitude":-71.05977,"country":"United States"}]}"#;
const CLOUDY: &str =
    r#"{"current":{"temperature_2m":12.3,"relative_humidity_2m":61,"weather_code":2,"wind_speed_10m":14.2}}"#;

fn services() -> Services {
    Services {
        geocoding_url: "http://geo.test/".to_owned(),
        forecast_url: "http://sky.test".to_owned(),
    }
}

fn ok(body: &str) -> Result<Response, Fault> {
    status(200, body)
}

fn status(status: u16, body: &str) -> Result<Response, Fault> {
    Ok(Response {
        status,
        retry_after: None,
        body: body.as_bytes().to_vec(),
    })
}

fn both(geocoding: &'static str, forecast: &'static str) -> impl Fn(&Request) -> Result<Response, Fault> {
    move |request| {
        ok(if request.url.contains("/v1/search") {
            geocoding
        } else {
            forecast
        })
    }
}

#[test]
fn a_city_has_weather() {
    let asked = RefCell::new(Vec::new());
    let send = |request: &Request| {
        asked.borrow_mut().push(request.url.clone());
        both(BOSTON, CLOUDY)(request)
    };
    let sentence = current_weather(" Boston ", &services(), &send).unwrap();
    assert_eq!(
        sentence,
        "Boston, United States: 12.3 °C, partly cloudy, wind 14 km/h, humidity 61 %"
    );
    assert_eq!(
        *asked.borrow(),
        [
            "http://geo.test/v1/search?name=Boston&count=1&language=en&format=json",
            "http://sky.test/v1/forecast?latitude=42.35843&longitude=-71.05977\
             &current=temperature_2m,relative_humidity_2m,weather_code,wind_speed_10m",
        ]
    );
}

#[test]
fn a_location_can_not_change_the_question() {
    let send = |request: &Request| {
        assert!(
            request
                .url
                .contains("name=S%C3%A3o%20Paulo%26count%3D9%23%2F%2E%2E%0D%0Ax&count=1"),
            "{}",
            request.url
        );
        ok("{}")
    };
    let problem = current_weather("São Paulo&count=9#/..\r\nx", &services(), &send);
    assert!(matches!(problem, Err(Problem::InvalidInput(_))));
}

#[test]
fn a_state_after_a_comma_is_tried_without() {
    let send = |request: &Request| match request.url.as_str() {
        url if url.contains("name=Boston%2C%20MA&") => ok(r#"{"generationtime_ms":0.5}"#),
        url if url.contains("name=Boston&") => ok(BOSTON),
        _ => ok(CLOUDY),
    };
    assert!(
        current_weather("Boston, MA", &services(), &send)
            .unwrap()
            .starts_with("Boston, United States: ")
    );
}

#[test]
fn an_unknown_city_is_the_callers_mistake() {
    for nothing in [r#"{"results":[]}"#, "{}", r#"{"results":null}"#] {
        let send = |_: &Request| ok(nothing);
        let Err(Problem::InvalidInput(message)) = current_weather("Xyzzy", &services(), &send) else {
            panic!("{nothing}")
        };
        assert!(message.contains("`Xyzzy`"));
    }
    let send = |_: &Request| -> Result<Response, Fault> { panic!("nothing to ask") };
    assert!(matches!(
        current_weather("  ", &services(), &send),
        Err(Problem::InvalidInput(_))
    ));
}

#[test]
fn trouble_that_may_pass_is_unavailable() {
    for code in [429, 500, 503] {
        let send = |_: &Request| {
            Ok(Response {
                status: code,
                retry_after: Some(Duration::from_secs(2)),
                body: b"<html>".to_vec(),
            })
        };
        let Err(Problem::Unavailable { message, retry_after }) = current_weather("Boston", &services(), &send) else {
            panic!("{code}")
        };
        assert!(message.contains(&code.to_string()));
        assert_eq!(retry_after, Some(Duration::from_secs(2)));
    }
    let send = |_: &Request| Err(Fault::Unreachable("ConnectionRefused".to_owned()));
    let problem = current_weather("Boston", &services(), &send).unwrap_err();
    assert!(matches!(problem, Problem::Unavailable { message, .. } if message.contains("ConnectionRefused")));
}

#[test]
fn trouble_that_stays_is_a_failure() {
    let check = |answer: Result<Response, Fault>, part: &str| {
        let send = |_: &Request| answer.clone();
        match current_weather("Boston", &services(), &send) {
            Err(Problem::Failed(message)) => assert!(message.contains(part), "{message}"),
            other => panic!("{other:?}"),
        }
    };
    check(
        Err(Fault::Denied("HttpRequestDenied".to_owned())),
        "may not contact the geocoding service",
    );
    check(Err(Fault::BadUrl("x".to_owned())), "no http or https URL");
    check(Err(Fault::TooLarge), "more than this tool reads");
    check(status(302, ""), "302");
    check(status(404, ""), "404");
    check(ok("{\"results\": [{"), "malformed JSON");
    check(ok(r#"{"results":[{"name":"Boston"}]}"#), "or where it is");
    check(
        ok(r#"{"results":[{"name":"Boston","latitude":1e300,"longitude":0}]}"#),
        "or where it is",
    );
    let send = both(BOSTON, r#"{"current":{}}"#);
    assert!(matches!(
        current_weather("Boston", &services(), &send),
        Err(Problem::Failed(_))
    ));
}

#[test]
fn names_from_the_service_are_cleaned() {
    let send = both(
        "{\"results\":[{\"name\":\"\\u001b[31mSingapore\",\"admin1\":\"Singapore\",\"country\":\"Singapore\",\"latitude\":1,\"longitude\":2}]}",
        r#"{"current":{"temperature_2m":-0.04,"weather_code":1234}}"#,
    );
    let sentence = current_weather("Singapore", &services(), &send).unwrap();
    assert_eq!(sentence, "31mSingapore, Singapore: 0.0 °C");
}

#[test]
fn what_no_weather_can_be_is_not_passed_on() {
    let failed = |geocoding, forecast| {
        let answer = current_weather("Boston", &services(), &both(geocoding, forecast));
        assert!(matches!(answer, Err(Problem::Failed(_))), "{answer:?}");
    };
    failed(r#"{"results":[{"latitude":1,"longitude":1}]}"#, CLOUDY);
    failed(
        r#"{"results":[{"name":"\u202e\u200b","latitude":1,"longitude":1}]}"#,
        CLOUDY,
    );
    failed(
        r#"{"results":[{"admin1":"Massachusetts","country":"United States","latitude":1,"longitude":1}]}"#,
        CLOUDY,
    );
    failed(
        r#"{"results":[{"name":" \u3164\u115f\u1160\uffa0","country":"United States","latitude":1,"longitude":1}]}"#,
        CLOUDY,
    );
    failed(BOSTON, r#"{"current":{"temperature_2m":1e308}}"#);
    failed(BOSTON, r#"{"current":{"temperature_2m":"mild"}}"#);
    let odd = r#"{"current":{"temperature_2m":1,"relative_humidity_2m":1e300,"weather_code":3.0,"wind_speed_10m":-4}}"#;
    let sentence = current_weather("Boston", &services(), &both(BOSTON, odd)).unwrap();
    assert_eq!(sentence, "Boston, United States: 1.0 °C, overcast");
}

#[test]
fn names_are_letters_and_nothing_that_hides() {
    let named = "{\"results\":[{\"name\":\"a\\u202eb\\u200b\\u2028c\\u001b[31m São-João d'Or\",\"latitude\":1,\"longitude\":1}]}";
    let sentence = current_weather("x", &services(), &|request: &Request| {
        ok(if request.url.contains("/v1/search") {
            named
        } else {
            CLOUDY
        })
    });
    assert!(sentence.unwrap().starts_with("abc31m São-João d'Or: 12.3"), "the name");
}

#[test]
fn an_unknown_place_is_repeated_without_what_hides() {
    let send = |_: &Request| ok("{}");
    let Err(Problem::InvalidInput(message)) = current_weather("Xy\u{202e}z\u{1b}zy\u{3164}", &services(), &send) else {
        panic!("nothing is known")
    };
    assert!(message.contains("`Xyzzy`"), "{message:?}");
}

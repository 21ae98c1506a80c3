//! The tool `get_weather`: finds a place and reports its weather.
//!
//! [`forecast`] makes two requests to an Open-Meteo compatible service. It takes the function that sends requests as an
//! argument, so native tests pass a closure as the server. In the component, that function uses `wasi:http`, and the URLs of
//! the service come from `wasi:config`: the plugin has none built in.

pub mod forecast;
pub mod service;

#[cfg(target_family = "wasm")]
mod component;

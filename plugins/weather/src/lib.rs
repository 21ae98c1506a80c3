//! The tool `get_weather`: where is that place, and what is the weather there?
//!
//! [`forecast`] asks an Open-Meteo compatible service two questions through a function that sends requests, so it is tested
//! natively with a server that is a closure. In the component that function is `wasi:http`, and the service's addresses come
//! from `wasi:config`: the plugin knows no address of its own.

pub mod forecast;
pub mod service;

#[cfg(target_family = "wasm")]
mod component;

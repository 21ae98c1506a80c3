#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| cofferdam::fuzz::completion(data));

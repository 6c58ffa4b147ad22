#![no_main]

libfuzzer_sys::fuzz_target!(init: ounce_fuzz::start(), |bytes: &[u8]| ounce::fuzzing::run("oip_grpc", bytes));

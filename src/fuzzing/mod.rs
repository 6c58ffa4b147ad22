//! Entrances for fuzzers: each [`FuzzTarget`] takes bytes as a stranger would send them to one of our readers, and panics where the reader
//! breaks a promise. It is no part of the server: it is compiled for tests and with the feature `fuzzing`.
//!
//! What goes in: any bytes. What comes out: nothing, or a panic that says which promise was broken. `fuzz/` runs the targets under libFuzzer
//! and AddressSanitizer, which also find what no assertion can: memory errors, and memory or time out of proportion. `smoke` runs
//! the corpora and a few thousand mutations of them with the unit tests. `docs/fuzzing.md` says how to run and to add targets.

mod grpc;
mod http;
mod images;
mod models;
mod oip;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod smoke;

pub use self::images::limits;

/// A reader of strangers' bytes.
#[derive(Debug, Clone, Copy)]
pub struct FuzzTarget {
    /// Its name, which is also that of its file in `fuzz/fuzz_targets/` and of its corpus in `fuzz/corpus/`.
    pub name: &'static str,
    /// Reads the bytes.
    pub run: fn(&[u8]),
}

/// All targets. `fuzz/` has one more, which compares two decoders of JPEG and needs the one in C.
pub const TARGETS: &[FuzzTarget] = &[
    FuzzTarget { name: "image", run: images::image },
    FuzzTarget { name: "body", run: http::body },
    FuzzTarget { name: "query", run: http::query },
    FuzzTarget { name: "accept", run: http::accept },
    FuzzTarget { name: "keys", run: http::keys },
    FuzzTarget { name: "key_file", run: models::key_file },
    FuzzTarget { name: "oip_json", run: oip::json },
    FuzzTarget { name: "oip_binary", run: oip::binary },
    FuzzTarget { name: "oip_grpc", run: oip::grpc },
    FuzzTarget { name: "grpc_frames", run: grpc::frames },
    FuzzTarget { name: "free_axis", run: models::free_axis },
    FuzzTarget { name: "manifest", run: models::manifest },
    FuzzTarget { name: "settings", run: models::settings },
];

/// Runs the target of that name.
///
/// # Panics
/// When there is no such target, or when it breaks a promise.
#[expect(clippy::panic, reason = "a fuzzer learns by panics")]
pub fn run(name: &str, bytes: &[u8]) {
    match TARGETS.iter().find(|target| target.name == name) {
        Some(target) => (target.run)(bytes),
        None => panic!("there is no target `{name}`"),
    }
}

/// The first line, without its end, and what comes after it.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

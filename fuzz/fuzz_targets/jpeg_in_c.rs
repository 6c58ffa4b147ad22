//! Two decoders of JPEG, one in Rust and one in C, at every scale: what both decode has the same size, and in full also the same pixels.
//!
//! Two known differences are told, not found again: at a reduced scale, coefficients that no encoder writes come out clamped in
//! one and wrapped in the other; and progressive images that lack scans are smoothed differently.

#![no_main]

use ounce::{
    fuzzing::limits,
    vision::jpeg::{JpegDecoder, JpegScale},
};

libfuzzer_sys::fuzz_target!(init: ounce_fuzz::start(), |bytes: &[u8]| {
    let limits = limits();
    for scale in JpegScale::ALL {
        let in_rust = JpegDecoder::InRust.decode(bytes, &limits, scale);
        let in_c = JpegDecoder::InC.decode(bytes, &limits, scale);
        if let (Ok(Some(ours)), Ok(Some(theirs))) = (&in_rust, &in_c) {
            assert_eq!(ours.dimensions(), theirs.dimensions(), "{scale:?}");
            let different = ours.as_raw().iter().zip(theirs.as_raw()).filter(|(a, b)| a != b).count();
            let known = scale != JpegScale::Full || is_progressive(bytes);
            assert!(known || different == 0, "{different} of {} samples differ", ours.as_raw().len());
            ounce_fuzz::tally(if different == 0 { "the same pixels" } else { "other pixels in a known case" });
        }
        ounce_fuzz::verdicts(&in_rust, &in_c);
    }
});

/// Whether the bytes may be those of a progressive image: Huffman or arithmetic.
fn is_progressive(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| matches!(pair, [0xFF, 0xC2 | 0xCA]))
}

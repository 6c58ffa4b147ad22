//! Two decoders of JPEG, one in Rust and one in C, at every scale: what both decode has the same pixels.

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
            assert_eq!(different, 0, "{scale:?}: so many of {} samples differ", ours.as_raw().len());
        }
        ounce_fuzz::verdicts(&in_rust, &in_c);
    }
});

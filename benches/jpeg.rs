//! Measures the CPU time of both decoders of JPEG: `cargo bench --features turbojpeg --bench jpeg -- photo.jpg…`. Without photos it
//! measures a small one of the fuzzers.
//!
//! Each photo is decoded at full size, at 1/2, 1/4 and 1/8, in turns by both decoders; the least time of many is told, which other work on
//! the machine disturbs least.

use std::{fs, path::PathBuf};

use ounce::{
    config::Config,
    cost::CpuTime,
    vision::jpeg::{JpegDecoder, JpegScale},
};

/// How much CPU time each measurement gets, in seconds.
const TIME: f64 = 3.0;

fn main() {
    let given: Vec<PathBuf> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).map(PathBuf::from).collect();
    let photos = if given.is_empty() { vec![PathBuf::from("fuzz/corpus/image/420.jpg")] } else { given };
    let limits = Config::defaults().expect("defaults").images;
    println!("photo, scale, ms in Rust, ms in C, Rust / C");
    for path in photos {
        let bytes = fs::read(&path).expect("a photo");
        for scale in JpegScale::ALL {
            let decode = |decoder: JpegDecoder| {
                let before = CpuTime::of_this_thread();
                let pixels = decoder.decode(&bytes, &limits, scale).expect("it decodes").expect("it is RGB or grey");
                let took = CpuTime::of_this_thread_since(before).seconds();
                std::hint::black_box(pixels);
                took
            };
            let (mut rust, mut c, mut spent) = (f64::MAX, f64::MAX, 0.0);
            while spent < TIME {
                let (one, other) = (decode(JpegDecoder::InRust), decode(JpegDecoder::InC));
                (rust, c, spent) = (rust.min(one), c.min(other), spent + one + other);
            }
            let name = path.file_name().unwrap_or_default().display();
            println!("{name}, 1/{}, {:.2}, {:.2}, {:.2}", scale.divisor(), rust * 1e3, c * 1e3, rust / c);
        }
    }
}

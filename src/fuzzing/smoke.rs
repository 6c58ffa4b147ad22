//! A short run of every target with the unit tests, on any toolchain: the corpora of `fuzz/corpus` and mutations of them, the same in
//! each run. `FUZZ_MUTATIONS=100000` makes it long. libFuzzer goes further, since it sees which code it reaches.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fastrand::Rng;

use super::TARGETS;

/// How many mutations each target gets, unless `FUZZ_MUTATIONS` says otherwise.
const MUTATIONS: usize = 1000;

/// The longest mutation in bytes.
const LONGEST: usize = 64 << 10;

/// Words that readers treat in a special way.
const WORDS: [&[u8]; 16] = [
    b"\0",
    b"\xFF",
    b"\xFF\xFF\xFF\xFF",
    b"\0\0\0\x80",
    b"-1",
    b"4294967296",
    b"9223372036854775807",
    b"1e999",
    b"NaN",
    b"[",
    b"{",
    b"\"",
    b"\r\n--",
    b"%00",
    b"\xFF\xD9",
    b"\xFF\xDA",
];

/// The files of a target's corpus, in their order.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("a file"))).collect()
}

/// Changes a few places.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Rng) {
    for _ in 0..random.usize(1..=4) {
        let place = random.usize(0..=bytes.len());
        match random.u8(0..8) {
            0 => bytes.truncate(place),
            1 => {
                let word = WORDS[random.usize(..WORDS.len())];
                bytes.splice(place..place, word.iter().copied());
            }
            2 => {
                let end = (place + random.usize(1..=32)).min(bytes.len());
                bytes.drain(place..end);
            }
            3 => {
                let end = (place + random.usize(1..=256)).min(bytes.len());
                let copied = bytes[place..end].to_vec();
                bytes.splice(place..place, copied);
            }
            4 => {
                bytes.truncate(place);
                bytes.extend_from_slice(&other[random.usize(0..=other.len())..]);
            }
            5 => bytes.iter_mut().skip(place).take(4).for_each(|byte| *byte = random.u8(..)),
            _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << random.u8(0..8)),
        }
    }
    bytes.truncate(LONGEST);
}

fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "`{name}` has no corpus");
    for (path, bytes) in &seeds {
        println!("{}", path.display());
        (target.run)(bytes);
    }
    let count = std::env::var_os("FUZZ_MUTATIONS").and_then(|count| count.to_str()?.parse().ok()).unwrap_or(MUTATIONS);
    let mut random = Rng::with_seed(15);
    for number in 0..count {
        let (path, seed) = &seeds[random.usize(..seeds.len())];
        let (_, other) = &seeds[random.usize(..seeds.len())];
        let mut bytes = seed.clone();
        mutate(&mut bytes, other, &mut random);
        let run = std::panic::catch_unwind(|| (target.run)(&bytes));
        assert!(run.is_ok(), "`{name}`, mutation {number} of {}: {}", path.display(), bytes.escape_ascii());
    }
}

macro_rules! smoke {
    ($($name:ident)+) => {
        const SMOKED: &[&str] = &[$(stringify!($name)),+];
        $(#[test]
        fn $name() {
            smoke(stringify!($name));
        })+
    };
}

smoke! { image body query accept keys key_file oip_json oip_binary oip_grpc grpc_frames free_axis manifest settings }

#[test]
fn every_target_has_a_test_and_a_program() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, SMOKED);
    let manifest = include_str!("../../fuzz/Cargo.toml");
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no program `{name}`");
    }
}

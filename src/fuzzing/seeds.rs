//! Makes the images of `fuzz/corpus/image`: small ones of every format and of every kind of JPEG. `UPDATE_CORPUS=1` writes them anew.

use std::{fs, io::Cursor, path::Path};

use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use libjpeg_turbo_rs::{Encoder, PixelFormat, Subsampling};

const WIDTH: u32 = 35;
const HEIGHT: u32 = 21;

/// EXIF that says: turn by 90 degrees.
const TURNED: &[u8] = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

fn picture() -> RgbImage {
    RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        let disc = (x.abs_diff(15).pow(2) + y.abs_diff(10).pow(2)) < 60;
        Rgb(if disc { [200, 40, (x * 7) as u8] } else { [(x * 5) as u8, (y * 9) as u8, 120] })
    })
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("it can be written");
    bytes.into_inner()
}

fn images() -> Vec<(String, Vec<u8>)> {
    let rgb = picture();
    let image = DynamicImage::from(rgb.clone());
    let gray = GrayImage::from(image.to_luma8());
    let mut all = vec![
        ("rgb.png".to_owned(), encoded(&image, ImageFormat::Png)),
        ("rgba16.png".to_owned(), encoded(&image.to_rgba16().into(), ImageFormat::Png)),
        ("gray.png".to_owned(), encoded(&gray.clone().into(), ImageFormat::Png)),
        ("rgb.gif".to_owned(), encoded(&image, ImageFormat::Gif)),
        ("rgb.bmp".to_owned(), encoded(&image, ImageFormat::Bmp)),
        ("rgb.tiff".to_owned(), encoded(&image, ImageFormat::Tiff)),
        ("gray16.tiff".to_owned(), encoded(&image.to_luma16().into(), ImageFormat::Tiff)),
        ("lossless.webp".to_owned(), encoded(&image, ImageFormat::WebP)),
    ];
    let jpeg = || Encoder::new(rgb.as_raw(), WIDTH as usize, HEIGHT as usize, PixelFormat::Rgb).quality(60);
    let kinds = [
        ("420", jpeg().subsampling(Subsampling::S420)),
        ("422", jpeg().subsampling(Subsampling::S422)),
        ("444", jpeg().subsampling(Subsampling::S444)),
        ("440", jpeg().subsampling(Subsampling::S440)),
        ("411", jpeg().subsampling(Subsampling::S411)),
        ("progressive", jpeg().subsampling(Subsampling::S420).progressive(true)),
        ("arithmetic", jpeg().subsampling(Subsampling::S420).arithmetic(true)),
        ("restarts", jpeg().subsampling(Subsampling::S420).restart_blocks(1)),
        ("turned", jpeg().subsampling(Subsampling::S420).exif_data(TURNED)),
        ("gray", Encoder::new(gray.as_raw(), WIDTH as usize, HEIGHT as usize, PixelFormat::Grayscale)),
    ];
    for (name, encoder) in kinds {
        all.push((format!("{name}.jpg"), encoder.encode().expect("it can be encoded")));
    }
    let cmyk: Vec<u8> = rgb.pixels().flat_map(|Rgb([r, g, b])| [255 - r, 255 - g, 255 - b, 0]).collect();
    let cmyk = Encoder::new(&cmyk, WIDTH as usize, HEIGHT as usize, PixelFormat::Cmyk).encode();
    all.push(("cmyk.jpg".to_owned(), cmyk.expect("it can be encoded")));
    all
}

#[test]
fn every_kind_of_image_is_in_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/image");
    for (name, bytes) in images() {
        let path = folder.join(&name);
        if std::env::var_os("UPDATE_CORPUS").is_some() {
            fs::create_dir_all(&folder).and_then(|()| fs::write(&path, &bytes)).expect("it can be written");
        }
        assert!(path.is_file(), "{} is missing; UPDATE_CORPUS=1 writes it", path.display());
    }
}

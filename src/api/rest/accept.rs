//! What a client wants back: JSON, or the image with the answer drawn on it.

use axum::http::{HeaderMap, header};

use crate::vision::draw::ImageFormat;

/// The image format asked for, or `None` for JSON: the default, the answer to `*/*`, and to what cannot be met.
pub(super) fn wanted_image(headers: &HeaderMap) -> Option<ImageFormat> {
    let (mut json, mut jpeg, mut png) = (MediaPreference::NONE, MediaPreference::NONE, MediaPreference::NONE);
    for value in headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()) {
        for entry in value.split(',') {
            let (range, q) = quality(entry);
            match range.to_ascii_lowercase().as_str() {
                "application/json" => json.learn(q, 2),
                "image/jpeg" | "image/jpg" => jpeg.learn(q, 2),
                "image/png" => png.learn(q, 2),
                "application/*" => json.learn(q, 1),
                "image/*" => {
                    jpeg.learn(q, 1);
                    png.learn(q, 1);
                }
                "*/*" => json.learn(q, 0),
                _ => {}
            }
        }
    }
    let best = if png.beats(&jpeg) { (png, ImageFormat::Png) } else { (jpeg, ImageFormat::Jpeg) };
    best.0.beats(&json).then_some(best.1)
}

/// How much a type is wanted: the quality of the most specific range that names it.
#[derive(Clone, Copy)]
struct MediaPreference {
    quality: f32,
    specific: u8,
}

impl MediaPreference {
    const NONE: Self = Self { quality: 0.0, specific: 0 };

    fn learn(&mut self, quality: f32, specific: u8) {
        if specific >= self.specific {
            *self = Self { quality, specific };
        }
    }

    fn beats(&self, other: &Self) -> bool {
        (self.quality, self.specific) > (other.quality, other.specific) && self.quality > 0.0
    }
}

fn quality(entry: &str) -> (&str, f32) {
    let mut parts = entry.split(';').map(str::trim);
    let range = parts.next().unwrap_or_default();
    let q = parts.find_map(|part| part.strip_prefix("q=")).and_then(|q| q.parse().ok()).unwrap_or(1.0);
    (range, q)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &str) -> Option<ImageFormat> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("header"));
        wanted_image(&headers)
    }

    #[test]
    fn json_unless_an_image_is_wanted_more() {
        for json in [
            "*/*",
            "application/json",
            "text/html",
            "image/avif",
            "application/json, image/png;q=0.5",
            "image/png;q=0",
            "image/png, application/json",
        ] {
            assert_eq!(wanted(json), None, "{json}");
        }
        assert_eq!(wanted_image(&HeaderMap::new()), None);
        assert_eq!(wanted("image/jpeg"), Some(ImageFormat::Jpeg));
        assert_eq!(wanted("image/png, */*"), Some(ImageFormat::Png));
        assert_eq!(wanted("image/jpeg;q=0.8, image/png"), Some(ImageFormat::Png));
        assert_eq!(wanted("image/avif,image/webp,image/*,*/*;q=0.8"), Some(ImageFormat::Jpeg));
    }
}

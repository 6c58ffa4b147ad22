//! libjpeg-turbo in C, by the crate `turbojpeg`.

use image::RgbImage;
use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor};

use super::{JpegFailure, JpegScale, MAX_SCANS, rgb};
use crate::config::ImageLimits;

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits, scale: JpegScale) -> Result<Option<RgbImage>, JpegFailure> {
    let failed = |error: turbojpeg::Error| JpegFailure::Broken(error.to_string());
    let mut decoder = Decompressor::new().map_err(failed)?;
    decoder.set_scan_limit(MAX_SCANS.into()).map_err(failed)?;
    let factor = ScalingFactor::new(1, scale.divisor() as usize);
    decoder.set_scaling_factor(factor).map_err(failed)?;
    let header = decoder.read_header(bytes).map_err(failed)?;
    if !matches!(header.colorspace, Colorspace::RGB | Colorspace::YCbCr | Colorspace::Gray) {
        return Ok(None);
    }
    let side = limits.max_side as usize;
    if header.width > side || header.height > side || (header.width * header.height) as u64 > limits.max_pixels {
        return Err(JpegFailure::Broken(format!("{}×{} pixels are over the limit", header.width, header.height)));
    }
    let (width, height) = (factor.scale(header.width), factor.scale(header.height));
    let mut pixels = vec![0; width * height * 3];
    let into = Image { pixels: &mut pixels[..], width, pitch: width * 3, height, format: PixelFormat::RGB };
    decoder.decompress(bytes, into).map_err(failed)?;
    rgb(width, height, pixels)
}

//! Pixels become pixels of another size, by the filter that the network was trained behind.

use std::borrow::Cow;

use fast_image_resize::{
    FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer,
    images::{Image, ImageRef},
};

use super::{
    area::{self, SourcePixels},
    bilinear,
};
use crate::{
    manifest::Resize,
    vision::{decode::Pixels, geometry::ResizePlan},
};

/// The planned part of the image at the planned size; the pixels themselves where nothing changes.
pub(super) fn resize<'a>(pixels: &'a Pixels, plan: &ResizePlan, filter: Resize) -> Result<Cow<'a, [u8]>, String> {
    let (width, height) = plan.size;
    let whole = plan.source == [0.0, 0.0, 1.0, 1.0];
    if whole && (pixels.width, pixels.height) == plan.size {
        return Ok(Cow::Borrowed(&pixels.rgb));
    }
    let failed = |error: &dyn std::fmt::Display| format!("the picture could not be resized: {error}");
    let (full_width, full_height) = (f64::from(pixels.width), f64::from(pixels.height));
    let [left, top, part_width, part_height] = plan.source;
    let (left, top) = (left * full_width, top * full_height);
    // A rounding error must not put the part's far side outside.
    let (part_width, part_height) =
        ((part_width * full_width).min(full_width - left), (part_height * full_height).min(full_height - top));

    let source_pixels = SourcePixels {
        rgb: &pixels.rgb,
        width: pixels.width as usize,
        height: pixels.height as usize,
        part: [left, top, part_width, part_height],
    };
    let algorithm = match filter {
        Resize::Bilinear => return Ok(Cow::Owned(bilinear::resize(&source_pixels, width as usize, height as usize))),
        Resize::Area => return Ok(Cow::Owned(area::shrink(&source_pixels, width as usize, height as usize))),
        Resize::BilinearAntialias => ResizeAlg::Convolution(FilterType::Bilinear),
        Resize::BicubicAntialias => ResizeAlg::Convolution(FilterType::CatmullRom),
        Resize::Lanczos => ResizeAlg::Convolution(FilterType::Lanczos3),
        Resize::Nearest => ResizeAlg::Nearest,
    };
    let source = ImageRef::new(pixels.width, pixels.height, &pixels.rgb, PixelType::U8x3).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(algorithm).crop(left, top, part_width, part_height);
    let mut resized = Image::new(width, height, PixelType::U8x3);
    Resizer::new().resize(&source, &mut resized, &options).map_err(|e| failed(&e))?;
    Ok(Cow::Owned(resized.into_vec()))
}

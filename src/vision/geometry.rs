//! Where an image lands on the network's input, and the way back for boxes. The sizes of both go in with the manifest's
//! [`Fit`]; out come the parts to cut and the place to put them, and a [`Placement`] for the way back.
//!
//! The sizes and offsets are those of the pipelines that networks are trained behind: Ultralytics (`letterbox`),
//! Megvii YOLOX (`letterbox-top-left`), torchvision's `Resize` and `CenterCrop` (`crop`). Sizes are whole pixels, so
//! the two axes of a "kept" ratio differ by a hair; boxes go back by each axis's own scale, which is where the
//! resized pixels came from.

use super::bbox::BBox;
use crate::manifest::{BoxUnit, Fit};

/// How one image is laid onto the network's input: which part of it is cut out, how large that part becomes, and where it
/// is put.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ResizePlan {
    /// The part of the image that is used, as fractions of its width and height: left, top, width, height.
    pub(super) source: [f64; 4],
    /// Width and height that this part has on the input, in pixels.
    pub(super) size: (u32, u32),
    /// Where the top left corner of this part lies on the input.
    pub(super) offset: (u32, u32),
    /// The way back for boxes.
    pub(crate) placement: Placement,
}

const WHOLE: [f64; 4] = [0.0, 0.0, 1.0, 1.0];

impl ResizePlan {
    /// `image` and `input` are widths and heights, none of which is 0.
    pub(crate) fn new(fit: Fit, crop_ratio: f32, image: (u32, u32), input: (u32, u32)) -> Self {
        let (source, size, offset) = match fit {
            Fit::Stretch => (WHOLE, input, (0, 0)),
            Fit::Letterbox => {
                // Ultralytics `letterbox`: int(round(w·r)), then round(pad/2 − 0.1) on the left and top.
                let size = scaled(image, shrink_to_fit(image, input), input, f64::round_ties_even);
                (WHOLE, size, ((input.0 - size.0) / 2, (input.1 - size.1) / 2))
            }
            Fit::LetterboxTopLeft => {
                // YOLOX `preproc`: int(w·r).
                (WHOLE, scaled(image, shrink_to_fit(image, input), input, f64::floor), (0, 0))
            }
            Fit::Crop => (centre_cut(image, input, f64::from(crop_ratio)), input, (0, 0)),
        };
        let (image_size, input_size) = (as_f64(image), as_f64(input));
        let scale = [0, 1].map(|axis| source[axis + 2] * image_size[axis] / as_f64(size)[axis]);
        let start = [0, 1].map(|axis| source[axis] * image_size[axis] - as_f64(offset)[axis] * scale[axis]);
        let fed = if fit == Fit::Stretch { image } else { input };
        let placement = Placement {
            scale: scale.map(narrow),
            start: start.map(narrow),
            image: image_size.map(narrow),
            input: input_size.map(narrow),
            fed,
            fed_is_image: fit == Fit::Stretch,
        };
        Self { source, size, offset, placement }
    }
}

fn shrink_to_fit(image: (u32, u32), input: (u32, u32)) -> f64 {
    (f64::from(input.1) / f64::from(image.1)).min(f64::from(input.0) / f64::from(image.0))
}

fn scaled(image: (u32, u32), ratio: f64, most: (u32, u32), whole: fn(f64) -> f64) -> (u32, u32) {
    // The casts saturate, and `clamp` bounds them again: a 1×16000 image keeps at least one column.
    let side = |length: u32, most: u32| (whole(f64::from(length) * ratio) as u32).clamp(1, most);
    (side(image.0, most.0), side(image.1, most.1))
}

/// As ImageNet classifiers are scored: resize by the ratio that makes the short side `S / crop_ratio`, sides cut to whole
/// pixels, then cut the middle `S`. torchvision's `Resize(256)`, `CenterCrop(224)` is that, but for a pixel of rounding.
/// Here both are one cut out of the image.
fn centre_cut(image: (u32, u32), input: (u32, u32), crop_ratio: f64) -> [f64; 4] {
    let (image, input) = (as_f64(image), as_f64(input));
    let needed = |axis: usize| input[axis] / crop_ratio / image[axis];
    let ratio = needed(0).max(needed(1));
    let share = |axis: usize| {
        // A rounding error must not cost a pixel.
        let resized = (image[axis] * ratio + 1e-6).floor().max(input[axis]);
        (((resized - input[axis]) / 2.0).floor() / resized, input[axis] / resized)
    };
    let ((left, width), (top, height)) = (share(0), share(1));
    [left, top, width, height]
}

fn as_f64(size: (u32, u32)) -> [f64; 2] {
    [f64::from(size.0), f64::from(size.1)]
}

fn narrow(value: f64) -> f32 {
    value as f32
}

/// Maps what a network says about its input back to the image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// Pixels of the image for each pixel of the input, by axis.
    scale: [f32; 2],
    /// Where the input's top left corner lies on the image, in pixels of the image (negative where bars are).
    start: [f32; 2],
    /// Width and height of the image.
    image: [f32; 2],
    /// Width and height of the network's input.
    input: [f32; 2],
    /// The size that the graph is told, where it wants to be told one.
    fed: (u32, u32),
    fed_is_image: bool,
}

impl Placement {
    /// A box in pixels of the network's input becomes one in pixels of the image, clipped to the image.
    #[must_use]
    pub fn to_image(&self, bbox: BBox) -> BBox {
        let [sx, sy] = self.scale;
        let [left, top] = self.start;
        self.clip(BBox {
            x1: bbox.x1 * sx + left,
            y1: bbox.y1 * sy + top,
            x2: bbox.x2 * sx + left,
            y2: bbox.y2 * sy + top,
        })
    }

    /// A box in some unit becomes one in pixels of the image, clipped to the image.
    #[must_use]
    pub fn to_image_from(&self, bbox: BBox, unit: BoxUnit) -> BBox {
        match unit {
            BoxUnit::Input => self.to_image(bbox),
            BoxUnit::Unit => {
                let [width, height] = self.input;
                self.to_image(BBox {
                    x1: bbox.x1 * width,
                    y1: bbox.y1 * height,
                    x2: bbox.x2 * width,
                    y2: bbox.y2 * height,
                })
            }
            BoxUnit::Image if self.fed_is_image => self.clip(bbox),
            BoxUnit::Image => self.to_image(bbox),
        }
    }

    /// The size that a graph with an image-size input is told, and that its boxes ([`BoxUnit::Image`]) refer to:
    /// the image's for `stretch`; the network input's own for the other fits, since such graphs know nothing of
    /// bars and cuts, and their boxes are then mapped back like input pixels.
    #[must_use]
    pub fn fed_size(&self) -> (u32, u32) {
        self.fed
    }

    fn clip(&self, bbox: BBox) -> BBox {
        let [width, height] = self.image;
        // `max`/`min` would turn a NaN into a side of the image; `clamp` keeps it, and such boxes are dropped later.
        BBox {
            x1: bbox.x1.clamp(0.0, width),
            y1: bbox.y1.clamp(0.0, height),
            x2: bbox.x2.clamp(0.0, width),
            y2: bbox.y2.clamp(0.0, height),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(fit: Fit, image: (u32, u32), input: (u32, u32)) -> ResizePlan {
        ResizePlan::new(fit, 0.875, image, input)
    }

    #[test]
    fn sizes_are_those_of_the_reference_pipelines() {
        let p = plan(Fit::Letterbox, (640, 427), (416, 416)); // 277.55 → 278, (416 − 278) / 2
        assert_eq!((p.size, p.offset), ((416, 278), (0, 69)));
        let p = plan(Fit::LetterboxTopLeft, (640, 427), (416, 416));
        assert_eq!((p.size, p.offset), ((416, 277), (0, 0)));
        let p = plan(Fit::Stretch, (640, 427), (320, 240));
        assert_eq!((p.size, p.offset, p.source), ((320, 240), (0, 0), WHOLE));
        assert_eq!(plan(Fit::Letterbox, (1, 16_000), (416, 416)).size, (1, 416));
    }

    #[test]
    fn a_crop_is_the_centre_of_the_resized_image() {
        // 640×480 → 341×256, cut at round(58.5) = 58 and 16.
        let p = plan(Fit::Crop, (640, 480), (224, 224));
        let expected = [58.0 / 341.0, 16.0 / 256.0, 224.0 / 341.0, 224.0 / 256.0];
        assert_eq!((p.source, p.size), (expected, (224, 224)));
        let whole_input = p.placement.to_image(BBox { x1: 0.0, y1: 0.0, x2: 224.0, y2: 224.0 });
        assert!((whole_input.x1 - 58.0 * 640.0 / 341.0).abs() < 1e-3 && (whole_input.y2 - 450.0).abs() < 1e-3);
    }

    #[test]
    fn sizes_are_fed_and_read_in_the_same_unit() {
        let bbox = BBox { x1: 10.0, y1: 20.0, x2: 30.0, y2: 40.0 };
        let stretch = plan(Fit::Stretch, (640, 480), (100, 100)).placement;
        assert_eq!((stretch.fed_size(), stretch.to_image_from(bbox, BoxUnit::Image)), ((640, 480), bbox));
        let letterbox = plan(Fit::Letterbox, (640, 480), (100, 100)).placement;
        assert_eq!(letterbox.fed_size(), (100, 100));
        assert_eq!(letterbox.to_image_from(bbox, BoxUnit::Image), letterbox.to_image(bbox));
    }

    #[test]
    fn a_nan_stays_a_nan() {
        let bbox = BBox { x1: f32::NAN, ..BBox::default() };
        assert!(plan(Fit::Stretch, (10, 10), (5, 5)).placement.to_image(bbox).x1.is_nan());
    }

    proptest! {
        #[test]
        fn there_and_back_again(
            image in (1u32..5000, 1u32..5000), input in (8u32..700, 8u32..700), fit in 0usize..4,
            point in (0.0f64..1.0, 0.0f64..1.0),
        ) {
            let fit = [Fit::Stretch, Fit::Letterbox, Fit::LetterboxTopLeft, Fit::Crop][fit];
            let p = plan(fit, image, input);
            prop_assert!(p.offset.0 + p.size.0 <= input.0 && p.offset.1 + p.size.1 <= input.1);
            prop_assert!(p.source[0] + p.source[2] < 1.0 + 1e-9 && p.source[1] + p.source[3] < 1.0 + 1e-9);
            // A point of the used part of the image, taken to the input by hand, comes back.
            let on_input = [
                f64::from(p.offset.0) + point.0 * f64::from(p.size.0),
                f64::from(p.offset.1) + point.1 * f64::from(p.size.1),
            ].map(narrow);
            let back = p.placement.to_image(BBox { x1: on_input[0], y1: on_input[1], x2: on_input[0], y2: on_input[1] });
            let want = [
                (p.source[0] + point.0 * p.source[2]) * f64::from(image.0),
                (p.source[1] + point.1 * p.source[3]) * f64::from(image.1),
            ].map(narrow);
            prop_assert!((back.x1 - want[0]).abs() < 0.01 && (back.y1 - want[1]).abs() < 0.01, "{back:?} {want:?}");
        }
    }
}

//! An image becomes the input tensors of a graph.
//!
//! [`Preprocessor::new`] settles once, at load, which input takes the image, how large it is and in which order its numbers
//! stand (`ports`). [`Preprocessor::preprocess`] then resizes the image (`resize`, `bilinear`, `area`) and writes each pixel
//! once (`fill`). It needs nothing but the image, so one decoded image can be preprocessed for several models.

mod area;
mod bilinear;
mod fill;
mod ports;
mod resize;

use ndarray::{ArrayD, IxDyn};

use self::{
    fill::{Filler, ResizedImage},
    ports::{ImagePort, SizeInput},
};
pub use super::geometry::Placement;
use super::{
    decode::DecodedImage,
    geometry::ResizePlan,
    tensor::{ElementType, Port, Tensor},
};
use crate::manifest::{Fit, InputSpec, Resize, SizeOrder};

/// Turns images into the inputs of one graph.
#[derive(Debug, Clone)]
pub struct Preprocessor {
    image: ImagePort,
    size: Option<SizeInput>,
    size_order: SizeOrder,
    fit: Fit,
    crop_ratio: f32,
    resize: Resize,
    filler: Filler,
}

/// One image's inputs for a graph.
#[derive(Debug, Clone)]
pub struct Preprocessed {
    /// The tensors, in the order of the graph's inputs, each with a batch axis of 1.
    pub inputs: Vec<Tensor>,
    /// The way back for boxes, from the network's input to the image.
    pub placement: Placement,
}

impl Preprocessor {
    /// Finds out which input takes the image and how.
    ///
    /// # Errors
    /// When the graph cannot be fed: with the shapes that were seen and the shapes that are wanted.
    pub fn new(spec: &InputSpec, inputs: &[Port]) -> Result<Self, String> {
        let (image, size) = ports::find(spec, inputs)?;
        let crop_ratio = spec.crop_ratio.get();
        if spec.fit == Fit::Crop && crop_ratio == 0.0 {
            return Err("input.crop_ratio is 0; it is the part of the short side that is kept, so above 0".to_owned());
        }
        let filler = Filler::new(spec, &image)?;
        Ok(Self { image, size, size_order: spec.size_order, fit: spec.fit, crop_ratio, resize: spec.resize, filler })
    }

    /// Width and height of the network's input.
    #[must_use]
    pub fn input_size(&self) -> (u32, u32) {
        self.image.size
    }

    /// The bytes of the network's input for one image, and of the pixels that it is made of.
    #[must_use]
    pub fn input_bytes(&self) -> u64 {
        let (width, height) = self.image.size;
        // Three numbers a pixel, of at most 4 bytes each, and the resized pixels.
        u64::from(width) * u64::from(height) * 15
    }

    /// The place of the input that takes the image, among the graph's inputs.
    #[must_use]
    pub fn image_input(&self) -> usize {
        self.image.index
    }

    /// The inputs for one image.
    ///
    /// # Errors
    /// When the image has fewer pixels than it says.
    pub fn preprocess(&self, image: &DecodedImage) -> Result<Preprocessed, String> {
        let plan = ResizePlan::new(self.fit, self.crop_ratio, (image.width, image.height), self.image.size);
        let rgb = resize::resize(&image.pixels, &plan, self.resize)?;
        let resized = ResizedImage { rgb: &rgb, size: plan.size, offset: plan.offset };
        let tensor = self.filler.fill(&resized)?;
        let mut inputs = vec![tensor];
        if let Some(size) = &self.size {
            let tensor = size_tensor(size, self.size_order, plan.placement.fed_size())?;
            inputs.insert(if size.index < self.image.index { 0 } else { 1 }, tensor);
        }
        Ok(Preprocessed { inputs, placement: plan.placement })
    }
}

fn size_tensor(input: &SizeInput, order: SizeOrder, (width, height): (u32, u32)) -> Result<Tensor, String> {
    let pair = match order {
        SizeOrder::WidthHeight => [width, height],
        SizeOrder::HeightWidth => [height, width],
    };
    let shape: &[usize] = if input.rank == 1 { &[2] } else { &[1, 2] };
    fn array<T>(shape: &[usize], pair: [T; 2]) -> Result<ArrayD<T>, String> {
        ArrayD::from_shape_vec(IxDyn(shape), Vec::from(pair)).map_err(|error| error.to_string())
    }
    Ok(match input.element {
        ElementType::I64 => array(shape, pair.map(i64::from))?.into(),
        ElementType::I32 => array(shape, pair.map(u32::cast_signed))?.into(),
        _ => array(shape, pair.map(|side| side as f32))?.into(),
    })
}

#[cfg(test)]
mod tests;

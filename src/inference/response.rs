//! An answer: the output, with its model, variant, timing and cost.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{memory::Room, permit::Permit};
use crate::{
    cost::RequestCost,
    manifest::VariantId,
    models::{Model, Variant},
    routing::Reason,
    tasks::Prediction,
    telemetry::StageTimes,
    vision::{decode::SourceFormat, draw::EncodedImage, tensor::Tensor},
};

/// An answer.
#[derive(Debug)]
pub struct Response<T> {
    /// The model that answered.
    pub model: Arc<Model>,
    /// The variant of it that answered.
    pub variant: VariantId,
    /// Why this variant was chosen.
    pub reason: Reason,
    /// The answer itself.
    pub output: T,
    /// Where the time went.
    pub timing: Timing,
    /// Images in the run that it was part of.
    pub batch_size: usize,
    /// What it cost.
    pub cost: RequestCost,
    /// The place and the memory of the request. Hold it until the response has been sent, since its bytes count until
    /// then.
    pub permit: Arc<Permit>,
}

/// What a model says about one image.
#[derive(Debug)]
pub struct ImageOutput {
    /// What the image is.
    pub image: ImageFacts,
    /// What the model says.
    pub prediction: Prediction,
    /// The image with the prediction drawn on it, encoded, where that was asked for.
    pub drawn: Option<DrawnImage>,
}

/// An image that an answer is drawn on, encoded. Its memory is given back piece by piece, as it is sent.
#[derive(Debug)]
pub struct DrawnImage {
    image: EncodedImage,
    room: Room,
}

impl DrawnImage {
    /// An encoded image, and the memory that was taken for it.
    pub(super) fn new(image: EncodedImage, mut room: Room) -> Self {
        room.shrink_to(image.len() as u64);
        Self { image, room }
    }

    /// The number of bytes that are left.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no image's file is empty")]
    pub fn len(&self) -> usize {
        self.image.len()
    }

    /// Takes the next piece; none when there is no more.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.image.next_piece();
        self.room.shrink_to(self.image.len() as u64);
        piece
    }

    /// All bytes that are left.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.image.to_vec()
    }
}

/// A graph's outputs by name, in its order.
pub type TensorOutputs = Vec<(String, Tensor)>;

/// What an image is.
#[derive(Debug, Clone, Copy)]
pub struct ImageFacts {
    /// Pixels across, as a person sees it.
    pub width: u32,
    /// Pixels down, as a person sees it.
    pub height: u32,
    /// The format of its file.
    pub format: SourceFormat,
    /// Its EXIF orientation, 1 to 8; already applied.
    pub orientation: u8,
}

/// Where a request's time went.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// By stage; of several images in one request the slowest.
    pub stages: StageTimes,
    /// From the last byte of the request to the answer.
    pub total: Duration,
}

impl<T> Response<T> {
    /// The variant that answered.
    #[must_use]
    pub fn variant(&self) -> &Variant {
        self.model.variant(self.variant)
    }
}

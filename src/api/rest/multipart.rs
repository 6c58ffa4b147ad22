//! `multipart/form-data`: each part is an image.

use std::convert::Infallible;

use axum::body::Bytes;
use bytes::BytesMut;
use futures_util::stream;
use multer::{Field, Multipart};

use super::images::ImagePart;
use crate::{
    api::{
        body::{BodyLimits, Hold, Upload},
        problem::Problem,
    },
    error::did_you_mean,
    oip::MAX_IMAGES,
};

/// The names that a part with an image may have.
const NAMES: [&str; 3] = ["image", "images", "file"];

/// Reads all parts, in their order.
pub(super) async fn read(
    upload: &mut Upload,
    boundary: String,
    limits: BodyLimits,
    hold: Hold<'_>,
) -> Result<Vec<ImagePart>, Problem> {
    // Read in full first: searched piece by piece, a form that trickles in would be searched again at every piece.
    let body = upload.read(limits.multipart(), limits.pace, hold).await?;
    // The reader of forms makes a copy, of which the parts are pieces.
    hold(body.len().saturating_mul(2))?;
    let form = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    collect(form, limits.image).await.map_err(|refusal| match refusal {
        FormError::Ours(problem) => problem,
        FormError::Form(error) => Problem::bad_body(format!("the multipart form cannot be read: {error}")),
    })
}

enum FormError {
    Ours(Problem),
    Form(multer::Error),
}

impl From<multer::Error> for FormError {
    fn from(error: multer::Error) -> Self {
        Self::Form(error)
    }
}

async fn collect(mut form: Multipart<'_>, limit: usize) -> Result<Vec<ImagePart>, FormError> {
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await? {
        check_name(field.name()).map_err(FormError::Ours)?;
        if parts.len() == MAX_IMAGES {
            return Err(FormError::Ours(Problem::bad_body(format!("the form has more than {MAX_IMAGES} pictures"))));
        }
        let file = field.file_name().map(ToOwned::to_owned);
        parts.push(ImagePart { file, bytes: image(field, limit).await? });
    }
    if parts.is_empty() {
        return Err(FormError::Ours(Problem::bad_body("the form has no part; send a picture as a part named `image`")));
    }
    Ok(parts)
}

fn check_name(name: Option<&str>) -> Result<(), Problem> {
    let name = name.unwrap_or_default();
    if NAMES.contains(&name) {
        return Ok(());
    }
    let hint = did_you_mean(name, &NAMES);
    let detail = format!(
        "the form has a part named `{name}`{hint}; pictures are parts named `image`, parameters go into the query"
    );
    Err(Problem::bad_body(detail))
}

/// Reads a part's bytes. Those over the limit are read, but not kept.
async fn image(mut field: Field<'_>, limit: usize) -> Result<Result<Bytes, Problem>, multer::Error> {
    // A part that lies in one piece is not copied.
    let mut bytes = field.chunk().await?.unwrap_or_default();
    let mut length = bytes.len();
    if let Some(second) = field.chunk().await? {
        let mut all = BytesMut::from(bytes);
        let mut next = Some(second);
        while let Some(chunk) = next {
            length += chunk.len();
            if length > limit {
                all = BytesMut::new();
            } else {
                all.extend_from_slice(&chunk);
            }
            next = field.chunk().await?;
        }
        bytes = all.freeze();
    }
    Ok(match length {
        0 => Err(Problem::bad_body("the part is empty; send the bytes of a picture")),
        _ if length > limit => Err(Problem::too_large(&format!("the part has {length} bytes"), limit)),
        _ => Ok(bytes),
    })
}

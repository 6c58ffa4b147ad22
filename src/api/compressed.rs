//! Bodies that come compressed, as Triton's clients offer to send them.

use std::io::Read;

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};
use flate2::read::{GzDecoder, ZlibDecoder};

use super::{body::refuse_compressed, problem::Problem};

/// Deflate makes at most so many bytes of one.
pub(super) const MOST_UNPACKED: usize = 1032;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    /// HTTP's `deflate` is zlib's format.
    Deflate,
}

/// How the headers say that the body is packed.
pub(super) fn packing(headers: &HeaderMap) -> Result<Packing, Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding == "gzip" => Ok(Packing::Gzip),
        Some(encoding) if encoding == "deflate" => Ok(Packing::Deflate),
        _ => refuse_compressed(headers).map(|()| Packing::Plain),
    }
}

/// Unpacks the body. A byte over the limit ends the work, however small the body came.
pub(super) fn unpack(body: Bytes, packing: Packing, limit: usize) -> Result<Bytes, Problem> {
    match packing {
        Packing::Plain => Ok(body),
        Packing::Gzip => read(GzDecoder::new(&*body), limit),
        Packing::Deflate => read(ZlibDecoder::new(&*body), limit),
    }
}

fn read(unpacked: impl Read, limit: usize) -> Result<Bytes, Problem> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    unpacked
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| Problem::bad_body(format!("the body cannot be unpacked: {error}")))?;
    if bytes.len() > limit {
        Err(Problem::too_large("the unpacked body has more bytes", limit))
    } else {
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, read::GzEncoder, read::ZlibEncoder};

    use super::*;

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let packed = |bytes: &[u8]| {
            let (mut gzip, mut zlib) = (Vec::new(), Vec::new());
            GzEncoder::new(bytes, Compression::best()).read_to_end(&mut gzip).expect("gzip");
            ZlibEncoder::new(bytes, Compression::best()).read_to_end(&mut zlib).expect("zlib");
            [(Packing::Gzip, Bytes::from(gzip)), (Packing::Deflate, Bytes::from(zlib))]
        };
        for (packing, body) in packed(b"0123456789") {
            assert_eq!(unpack(body.clone(), packing, 10).expect("fits"), "0123456789");
            assert_eq!(unpack(body.slice(..5), packing, 10).expect_err("torn").status().as_u16(), 400);
        }
        for (packing, body) in packed(&[0; 1 << 20]) {
            assert_eq!(unpack(body, packing, 10).expect_err("bomb").status().as_u16(), 413);
        }
    }
}

//! An encoded image in pieces, so that it grows without being copied, and each piece is free once it has been sent.

use std::{collections::VecDeque, io, mem};

use bytes::Bytes;

/// The size of a piece, in bytes.
const PIECE: usize = 64 << 10;

/// The bytes of an image's file.
#[derive(Debug, Clone, Default)]
pub struct EncodedImage {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl EncodedImage {
    /// The number of bytes that are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no byte is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes the next piece; none when there is no more.
    pub fn next_piece(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front()?;
        self.len -= piece.len();
        Some(piece)
    }

    /// All bytes that are left, one after the other.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces.iter().flatten().copied().collect()
    }
}

/// Writes an image's file into pieces.
#[derive(Debug, Default)]
pub(super) struct PieceWriter {
    image: EncodedImage,
    piece: Vec<u8>,
}

impl PieceWriter {
    /// What was written.
    pub(super) fn finish(mut self) -> EncodedImage {
        self.end_piece();
        self.image
    }

    fn end_piece(&mut self) {
        if !self.piece.is_empty() {
            let mut piece = mem::take(&mut self.piece);
            piece.shrink_to_fit();
            self.image.len += piece.len();
            self.image.pieces.push_back(piece.into());
        }
    }
}

impl io::Write for PieceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.capacity() == 0 {
            self.piece.reserve_exact(PIECE);
        }
        let taken = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() == PIECE {
            self.end_piece();
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn pieces_are_the_whole_in_its_order() {
        let bytes: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let mut writer = PieceWriter::default();
        bytes.chunks(777).for_each(|chunk| writer.write_all(chunk).expect("memory"));
        let mut image = writer.finish();
        assert_eq!((image.len(), image.to_vec()), (bytes.len(), bytes.clone()));
        let mut pieces = Vec::new();
        while let Some(piece) = image.next_piece() {
            assert!(piece.len() <= PIECE);
            pieces.extend_from_slice(&piece);
        }
        assert!(image.is_empty() && pieces == bytes);
    }
}

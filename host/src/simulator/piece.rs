//! The pieces of a body, such as the events of a stream, before a fault is applied to them.

use std::time::Duration;

use bytes::Bytes;

use super::body::Part;
use super::gzip::Gzip;
use super::script::FaultPoint;

/// A piece of a body, with the pause before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) delay: Duration,
    bytes: Bytes,
    /// How often the bytes are sent.
    times: u64,
}

impl Piece {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self::repeated(bytes, 1)
    }

    pub(super) fn repeated(bytes: Bytes, times: u32) -> Self {
        Self {
            delay: Duration::ZERO,
            bytes,
            times: times.into(),
        }
    }

    pub(super) fn after(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    fn size(&self) -> u64 {
        (self.bytes.len() as u64).saturating_mul(self.times)
    }

    pub(super) fn parts(self) -> impl Iterator<Item = Part> {
        let pause = (!self.delay.is_zero()).then_some(Part::Wait(self.delay));
        let bytes = match self.times {
            1 => Part::Data(self.bytes),
            times => Part::Repeated(self.bytes, times),
        };
        pause.into_iter().chain([bytes])
    }

    /// Splits a piece after so many bytes, which are fewer than its size. The pause stays with the first one.
    fn split(self, at: u64) -> (Vec<Self>, Vec<Self>) {
        let length = (self.bytes.len() as u64).max(1);
        let copies = at / length;
        // Less than the length of the bytes.
        let inside = usize::try_from(at % length).unwrap_or(0);
        let copy = |bytes: Bytes, times: u64| Self {
            delay: Duration::ZERO,
            bytes,
            times,
        };
        let (first, last) = (self.bytes.slice(..inside), self.bytes.slice(inside..));
        let left = self.times.saturating_sub(copies).saturating_sub(1);
        let before = [copy(self.bytes.clone(), copies), copy(first, 1)];
        let after = [copy(last, 1), copy(self.bytes, left)];
        let mut before: Vec<_> = before.into_iter().filter(|piece| piece.size() > 0).collect();
        if let Some(first) = before.first_mut() {
            first.delay = self.delay;
        }
        (before, after.into_iter().filter(|piece| piece.size() > 0).collect())
    }
}

pub(super) fn size(pieces: &[Piece]) -> u64 {
    pieces.iter().fold(0, |sum, piece| sum.saturating_add(piece.size()))
}

/// Splits a body where a fault strikes.
pub(super) fn split(pieces: Vec<Piece>, at: FaultPoint) -> (Vec<Piece>, Vec<Piece>) {
    let (mut events_left, mut bytes_left) = match at {
        FaultPoint::Events(events) => (events, u64::MAX),
        FaultPoint::Bytes(bytes) => (usize::MAX, bytes as u64),
        FaultPoint::BeforeEnd(bytes) => (usize::MAX, size(&pieces).saturating_sub(bytes as u64)),
        FaultPoint::AfterAnswer => (usize::MAX, u64::MAX),
        FaultPoint::Accept | FaultPoint::Request | FaultPoint::HeadBytes(_) => (0, 0),
    };
    let mut before = Vec::new();
    let mut rest = Vec::new();
    for piece in pieces {
        let size = piece.size();
        if events_left == 0 || bytes_left == 0 {
            rest.push(piece);
            continue;
        }
        if size <= bytes_left {
            before.push(piece);
        } else {
            let (first, last) = piece.split(bytes_left);
            before.extend(first);
            rest.extend(last);
        }
        events_left = events_left.saturating_sub(1);
        bytes_left = bytes_left.saturating_sub(size);
    }
    (before, rest)
}

/// The pieces as gzip, each of which can be decoded as soon as it arrives. None of them is repeated.
pub(super) fn compressed(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut gzip = Gzip::new();
    let mut out: Vec<_> = pieces
        .into_iter()
        .map(|piece| Piece::new(gzip.encode(&piece.bytes)).after(piece.delay))
        .collect();
    out.push(Piece::new(gzip.finish()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_split_anywhere() {
        let pieces = || {
            vec![
                Piece::new(Bytes::from_static(b"ab")).after(Duration::from_secs(1)),
                Piece::repeated(Bytes::from_static(b"xyz"), 3).after(Duration::from_secs(2)),
                Piece::new(Bytes::from_static(b"c")),
            ]
        };
        let text = |pieces: &[Piece]| -> Vec<u8> {
            let copies = pieces.iter().flat_map(|piece| (0..piece.times).map(|_| &piece.bytes));
            copies.flatten().copied().collect()
        };
        let all = b"abxyzxyzxyzc";
        assert_eq!(size(&pieces()), all.len() as u64);
        for at in 0..=all.len() {
            for point in [FaultPoint::Bytes(at), FaultPoint::BeforeEnd(all.len() - at)] {
                let (before, rest) = split(pieces(), point);
                assert_eq!((&text(&before)[..], &text(&rest)[..]), all.split_at(at), "{point:?}");
            }
        }
        for (events, at) in [(0, 0), (1, 2), (2, 11), (3, 12), (9, 12)] {
            let (before, _) = split(pieces(), FaultPoint::Events(events));
            assert_eq!(text(&before), all[..at], "{events}");
        }
        let (before, rest) = split(pieces(), FaultPoint::Bytes(6));
        let delays = |pieces: &[Piece]| pieces.iter().map(|piece| piece.delay.as_secs()).collect::<Vec<_>>();
        assert_eq!((delays(&before), delays(&rest)), (vec![1, 2, 0], vec![0, 0, 0]));
    }
}

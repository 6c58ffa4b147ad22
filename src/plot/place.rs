//! Where a point's label goes so that it covers nothing.

use super::sheet::At;

/// A rectangle in pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    /// About a centre.
    pub fn about((x, y): At, width: f64, height: f64) -> Self {
        Self { left: x - width / 2.0, right: x + width / 2.0, top: y - height / 2.0, bottom: y + height / 2.0 }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.right && other.left < self.right && self.top < other.bottom && other.top < self.bottom
    }

    fn holds(&self, other: &Self) -> bool {
        self.left <= other.left && self.top <= other.top && other.right <= self.right && other.bottom <= self.bottom
    }

    /// The middle.
    pub fn center(&self) -> At {
        (f64::midpoint(self.left, self.right), f64::midpoint(self.top, self.bottom))
    }
}

/// The place for a label of a size in pixels beside a point: inside of `sheet`, over as little of `taken` as can be,
/// and of such places the nearest to the right.
pub(super) fn beside(point: At, (width, height): (f64, f64), sheet: &Area, taken: &[Area]) -> Area {
    let places = [10.0, 18.0, 30.0].into_iter().flat_map(|away| {
        let (right, below) = (away + width / 2.0, away + height / 2.0);
        [(1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (-1.0, 0.0), (1.0, -1.0), (1.0, 1.0), (-1.0, -1.0), (-1.0, 1.0)]
            .map(|(x, y)| Area::about((point.0 + x * right, point.1 + y * below), width, height))
    });
    let covered = |place: &Area| {
        taken.iter().filter(|other| place.overlaps(other)).count() + if sheet.holds(place) { 0 } else { 1000 }
    };
    places.min_by_key(covered).unwrap_or_else(|| Area::about(point, width, height))
}

/// Moves places along one line, so that none is nearer to the next than `apart`, and all are within `low..=high` if
/// they fit. The order of `wanted` is kept in what comes back.
pub(super) fn spread(wanted: &[f64], apart: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut least = low;
    for at in &order {
        places[*at] = places[*at].max(least);
        least = places[*at] + apart;
    }
    let mut most = high;
    for at in order.iter().rev() {
        places[*at] = places[*at].min(most);
        most = places[*at] - apart;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_off_each_other_and_inside() {
        let sheet = Area { left: 0.0, top: 0.0, right: 300.0, bottom: 300.0 };
        let mut taken = Vec::new();
        for point in [(290.0, 150.0), (290.0, 152.0), (288.0, 149.0), (5.0, 5.0)] {
            let place = beside(point, (70.0, 14.0), &sheet, &taken);
            assert!(sheet.holds(&place) && !taken.iter().any(|other| place.overlaps(other)), "{place:?}");
            taken.push(place);
        }
    }

    #[test]
    fn places_in_a_line_are_spread() {
        assert_eq!(spread(&[50.0, 10.0, 52.0], 10.0, 0.0, 100.0), [50.0, 10.0, 60.0]);
        assert_eq!(spread(&[99.0, 98.0], 10.0, 0.0, 100.0), [100.0, 90.0]);
    }
}

//! CPU time of runs on a session's own threads, which have no clock that we can read: what the whole process used while
//! nothing else ran, measured when a model is loaded.

use std::collections::BTreeMap;

use crate::cost::CpuTime;

/// The CPU time of a run by its rows.
#[derive(Debug, Clone, Default)]
pub struct PoolCpu(BTreeMap<usize, CpuTime>);

impl PoolCpu {
    /// A run of so many rows used that. What was used beside it only makes it more, so the least counts.
    pub fn record(&mut self, rows: usize, used: CpuTime) {
        let least = self.0.entry(rows).or_insert(used);
        if used < *least {
            *least = used;
        }
    }

    /// What a run of so many rows uses, by the next smaller size that was measured.
    #[must_use]
    pub fn of(&self, rows: usize) -> CpuTime {
        let measured = self.0.range(..=rows).next_back().or(self.0.first_key_value());
        measured.map_or(CpuTime::default(), |(&size, &used)| used / size * rows)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes_between_go_by_the_next_smaller_one() {
        let ms = |n| CpuTime::from(Duration::from_millis(n));
        let mut pool = PoolCpu::default();
        assert_eq!(pool.of(3), ms(0));
        [(1, 9), (1, 4), (4, 12)].into_iter().for_each(|(rows, cpu)| pool.record(rows, ms(cpu)));
        assert_eq!([pool.of(1), pool.of(3), pool.of(8)], [ms(4), ms(12), ms(24)]);
    }
}

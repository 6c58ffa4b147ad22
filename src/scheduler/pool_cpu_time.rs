//! CPU time of runs on a session's own thread pool, by batch size.
//!
//! The CPU clocks of those threads cannot be read. So the CPU time is measured when a model is loaded, as what the whole
//! process used while nothing else ran, and every later run is charged the same.

use std::collections::BTreeMap;

use crate::cost::CpuTime;

/// CPU time of a run by its rows.
#[derive(Debug, Clone, Default)]
pub struct PoolCpuTime(BTreeMap<usize, CpuTime>);

impl PoolCpuTime {
    /// Takes in that the process used `cpu` during a run of `rows` rows.
    ///
    /// Anything that ran beside it can only add to that, so the least of all measurements counts.
    pub fn record(&mut self, rows: usize, cpu: CpuTime) {
        let least = self.0.entry(rows).or_insert(cpu);
        if cpu < *least {
            *least = cpu;
        }
    }

    /// CPU time of a run of `rows` rows, scaled from the next smaller size that was measured; zero if none was.
    #[must_use]
    pub fn for_rows(&self, rows: usize) -> CpuTime {
        let measured = self.0.range(..=rows).next_back().or(self.0.first_key_value());
        measured.map_or(CpuTime::default(), |(&size, &cpu)| cpu / size * rows)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes_in_between_are_scaled_from_the_next_smaller_one() {
        let ms = |n| CpuTime::from(Duration::from_millis(n));
        let mut pool = PoolCpuTime::default();
        assert_eq!(pool.for_rows(3), ms(0));
        [(1, 9), (1, 4), (4, 12)].into_iter().for_each(|(rows, cpu)| pool.record(rows, ms(cpu)));
        assert_eq!([pool.for_rows(1), pool.for_rows(3), pool.for_rows(8)], [ms(4), ms(12), ms(24)]);
    }
}

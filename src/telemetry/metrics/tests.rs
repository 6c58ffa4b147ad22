use std::time::Duration;

use super::*;
use crate::telemetry::StageTimes;

struct TwoWait;

impl GaugeSource for TwoWait {
    fn read(&self, gauges: &Gauges) {
        gauges.waiting("pedestrian", 2);
    }
}

#[test]
fn the_text_names_what_happened() {
    let metrics = Arc::new(Metrics::new().expect("names are unique"));
    let series = metrics.variant("pedestrian", "int8");
    series.answered(Duration::from_millis(3), &StageTimes::default());
    metrics.refused("pedestrian", "queue_full");
    let text = metrics.render();
    assert!(text.contains("ounce_requests_total{model=\"pedestrian\",outcome=\"ok\",variant=\"int8\"} 1"), "{text}");
    assert!(text.contains("ounce_requests_total{model=\"pedestrian\",outcome=\"error\",variant=\"int8\"} 0"), "{text}");
    assert!(text.contains("ounce_refused_total{model=\"pedestrian\",reason=\"queue_full\"} 1"), "{text}");
    let process = ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"];
    assert!(!cfg!(target_os = "linux") || process.iter().all(|name| text.contains(&format!("process_{name} "))));
}

#[test]
fn gauges_are_read_as_long_as_their_source_lives() {
    let metrics = Metrics::new().expect("names are unique");
    let source: Arc<dyn GaugeSource> = Arc::new(TwoWait);
    metrics.read_gauges_from(Arc::downgrade(&source)).expect("names are unique");
    assert!(metrics.render().contains("ounce_queue_depth{model=\"pedestrian\"} 2"), "{}", metrics.render());
    drop(source);
    assert!(!metrics.render().contains("ounce_queue_depth{"));
}

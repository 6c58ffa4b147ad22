use super::*;

#[test]
fn the_text_names_what_happened() {
    let metrics = Metrics::new().expect("names are unique");
    metrics.answered("pedestrian", "int8", Duration::from_millis(3));
    metrics.refused("pedestrian", "queue_full");
    let text = metrics.render();
    assert!(text.contains("ounce_requests_total{model=\"pedestrian\",outcome=\"ok\",variant=\"int8\"} 1"), "{text}");
    assert!(text.contains("ounce_refused_total{model=\"pedestrian\",reason=\"queue_full\"} 1"), "{text}");
    let process = ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "start_time_seconds"];
    assert!(!cfg!(target_os = "linux") || process.iter().all(|name| text.contains(&format!("process_{name} "))));
}

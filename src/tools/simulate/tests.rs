use super::*;

fn plan() -> SimulationPlan {
    SimulationPlan {
        capacity_per_s: 300.0,
        usd_per_hour: 0.10,
        promise: Duration::from_millis(100),
        ready_after: Duration::from_secs(30),
        target_load: 0.8,
        min_replicas: 2,
        max_replicas: 100_000,
    }
}

#[test]
fn fixed_replicas_cost_their_price_and_refuse_what_is_too_much() {
    let traffic = Traffic::read("0,150\n1800,450\n3600,0\n").expect("a trace");
    let outcome = run(&plan(), &traffic, Rule::Fixed(1));
    assert!((outcome.usd_per_day - 2.4).abs() < 1e-9);
    assert!((outcome.refused_ratio - 0.25).abs() < 0.01, "{}", outcome.refused_ratio);
    assert!((outcome.idle_ratio - 0.25).abs() < 0.01, "{}", outcome.idle_ratio);
    assert_eq!((outcome.replicas.0, outcome.replicas.2, outcome.turns), (1, 1, 0));
}

#[test]
fn by_requests_a_steady_load_has_what_it_needs_and_no_turn() {
    let traffic = Traffic::read("0,3000\n7200,0\n").expect("a trace");
    let outcome = run(&plan(), &traffic, Rule::Scaled(Signal::Requests));
    // 3,000 requests a second at 0.8 of 300.
    assert!((13.0..14.5).contains(&outcome.replicas.1), "{:?}", outcome.replicas);
    assert_eq!((outcome.refused_ratio, outcome.turns), (0.0, 0));
}

#[test]
fn a_step_to_threefold_is_seen_as_what_it_is() {
    let traffic = Traffic::read("0,2000\n600,6000\n1800,0\n").expect("a trace");
    let by = |signal| run(&plan(), &traffic, Rule::Scaled(signal));
    let (requests, cpu) = (by(Signal::Requests), by(Signal::Cpu { target: 0.8 }));
    assert!(requests.refused_ratio < cpu.refused_ratio, "{} {}", requests.refused_ratio, cpu.refused_ratio);
    assert!((21..=28).contains(&requests.replicas.2), "neither too few nor too many: {:?}", requests.replicas);
}

#[test]
fn the_day_is_cheaper_by_requests_than_fixed_and_hardly_refuses() {
    let report = compare(&plan(), &Traffic::day(6000.0));
    let [fixed, mean, _, _, ounce] = &report.outcomes[..] else { unreachable!("five rules") };
    assert!(ounce.usd_per_day < 0.7 * fixed.usd_per_day, "{report}");
    assert!(ounce.refused_ratio < 0.002 && mean.refused_ratio > 0.05, "{report}");
    // Day and night, and four spikes up and down.
    assert!(ounce.turns <= 12, "{report}");
}

#[test]
fn ten_thousand_replicas_take_no_longer() {
    let report = compare(&plan(), &Traffic::day(2_400_000.0));
    let ounce = report.outcomes.last().expect("the last");
    assert!((9_000..13_000).contains(&ounce.replicas.2), "{report}");
    assert!(report.chart().svg().is_ok());
}

#[test]
fn a_steady_load_turns_the_number_of_replicas_hardly_ever() {
    // Near whole numbers, too, where a rounded mean would go back and forth all the time. Of the random numbers of 32 seeds, 12 gave more turns
    // than this in four hours at a small replica's capacity, ten at most.
    for (capacity_per_s, most) in [(300.0, 0), (20.0, 4)] {
        for quarters in 4..24 {
            let rate = f64::from(quarters) / 4.0 * 0.8 * capacity_per_s;
            let traffic = Traffic::read(&format!("0,{rate}\n14400,0\n")).expect("a trace");
            let outcome = run(&SimulationPlan { capacity_per_s, ..plan() }, &traffic, Rule::Scaled(Signal::Requests));
            assert!(outcome.turns <= most, "{rate}/s in four hours: {} turns, {:?}", outcome.turns, outcome.replicas);
            assert!(outcome.refused_ratio < 0.001, "{rate}/s: {} {:?}", outcome.refused_ratio, outcome.replicas);
        }
    }
}

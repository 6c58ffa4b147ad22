use proptest::prelude::*;

use super::*;

fn candidate(name: &str, accuracy: f64, usd: f64, alone_ms: u64) -> Candidate<'_> {
    let alone = Duration::from_millis(alone_ms);
    Candidate { name, accuracy: Some(accuracy), agreement: None, usd, alone, demand: usd }
}

/// Large, middle, small, and one that is small's twin.
fn three() -> [Candidate<'static>; 4] {
    [
        candidate("middle", 0.7, 2.0, 20),
        candidate("large", 0.9, 5.0, 50),
        candidate("small", 0.5, 1.0, 10),
        candidate("twin", 0.5, 0.95, 11),
    ]
}

fn told(asked: &Asked<'_>) -> (&'static str, &'static str) {
    let candidates = three();
    let choice = choose(&candidates, asked).expect("one will do");
    (candidates[choice.variant].name, choice.reason.name())
}

#[test]
fn the_objective_takes_its_best() {
    let objective = |objective| Asked { objective: Some(objective), ..Asked::default() };
    assert_eq!(told(&Asked::default()), ("small", "cost"), "its twin is not clearly cheaper and comes later");
    assert_eq!(told(&objective(Objective::Latency)), ("small", "latency"));
    assert_eq!(told(&objective(Objective::Accuracy)), ("large", "accuracy"));
    assert_eq!(told(&Asked { default: Some("middle"), ..Asked::default() }), ("middle", "default"));
    assert_eq!(told(&Asked { variant: Some("large"), closed: 9, ..Asked::default() }), ("large", "requested"));
}

#[test]
fn floors_and_ceilings_bind() {
    assert_eq!(told(&Asked { min_accuracy: Some(0.6), ..Asked::default() }), ("middle", "cost"));
    assert_eq!(told(&Asked { min_accuracy: Some(0.8), closed: 9, ..Asked::default() }), ("large", "only"));
    let accurate = Asked { objective: Some(Objective::Accuracy), ..Asked::default() };
    assert_eq!(told(&Asked { max_cost_usd: Some(3.0), ..accurate }), ("middle", "accuracy"));
    assert_eq!(told(&Asked { within: Some(Duration::from_millis(30)), ..accurate }), ("middle", "deadline"));
    assert_eq!(told(&Asked { within: Some(Duration::from_millis(1)), ..accurate }), ("small", "deadline"));
    assert_eq!(told(&Asked { save: true, ..accurate }), ("small", "budget"));
}

#[test]
fn under_load_the_heaviest_are_closed() {
    let accurate = Asked { objective: Some(Objective::Accuracy), ..Asked::default() };
    assert_eq!(told(&Asked { closed: 1, ..accurate }), ("middle", "load"));
    assert_eq!(told(&Asked { closed: 2, ..accurate }), ("small", "load"));
    assert_eq!(told(&Asked { closed: 7, ..accurate }), ("small", "load"), "somebody has to answer");
    let floor = Asked { min_accuracy: Some(0.6), closed: 2, ..accurate };
    assert_eq!(told(&floor), ("middle", "load"), "never below the floor");
}

#[test]
fn what_disagrees_is_passed_over_if_there_is_another() {
    let mut candidates = three();
    candidates[2].agreement = Some(0.4);
    candidates[3].agreement = Some(0.95);
    let asked = Asked { min_agreement: Some(0.9), ..Asked::default() };
    assert_eq!(choose(&candidates, &asked).map(|choice| choice.variant), Ok(3));
    let choice = choose(&candidates[2..3], &asked).expect("the only one");
    assert_eq!((choice.variant, choice.reason), (0, Reason::Only));
}

#[test]
fn a_limit_that_nobody_meets_is_named() {
    let refused = |asked: Asked<'_>| choose(&three(), &asked).expect_err("refused").to_string();
    insta::assert_snapshot!(
        refused(Asked { min_accuracy: Some(0.95), ..Asked::default() }),
        @r#"no variant reaches 0.95; the most accurate one, "large", has 0.9"#
    );
    insta::assert_snapshot!(
        refused(Asked { max_cost_usd: Some(1e-9), min_accuracy: Some(0.6), ..Asked::default() }),
        @r#"no variant answers for 1e-9 dollars; the cheapest that will do, "middle", costs about 2.00e0"#
    );
    insta::assert_snapshot!(
        refused(Asked { variant: Some("small"), min_accuracy: Some(0.6), ..Asked::default() }),
        @r#"no variant reaches 0.6; the most accurate one, "small", has 0.5"#
    );
    insta::assert_snapshot!(
        refused(Asked { variant: Some("fp8"), ..Asked::default() }),
        @r#"there is no variant "fp8"; there are middle, large, small, twin"#
    );
}

proptest! {
    /// Whatever is asked: what comes out is above the floor and below the ceiling, or nothing is.
    #[test]
    fn no_answer_breaks_a_limit(
        variants in prop::collection::vec((0.0..1.0f64, 0.1..9.0f64, 1u64..100), 1..6),
        floor in prop::option::of(0.0..1.0f64),
        ceiling in prop::option::of(0.1..9.0f64),
        closed in 0usize..6,
        save in any::<bool>(),
        within_ms in prop::option::of(1u64..100),
    ) {
        let candidates: Vec<_> =
            variants.iter().map(|&(accuracy, usd, alone_ms)| candidate("v", accuracy, usd, alone_ms)).collect();
        let within = within_ms.map(Duration::from_millis);
        let asked = Asked { min_accuracy: floor, max_cost_usd: ceiling, closed, save, within, ..Asked::default() };
        let will_do = |c: &Candidate<'_>| {
            floor.is_none_or(|floor| c.accuracy >= Some(floor)) && ceiling.is_none_or(|most| c.usd <= most)
        };
        match choose(&candidates, &asked) {
            Ok(choice) => prop_assert!(will_do(&candidates[choice.variant])),
            Err(_) => prop_assert!(!candidates.iter().any(will_do)),
        }
    }
}

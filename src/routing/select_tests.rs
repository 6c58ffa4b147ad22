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

fn chosen(requirements: &Requirements<'_>) -> (&'static str, &'static str) {
    let candidates = three();
    let choice = select(&candidates, requirements).expect("one will do");
    (candidates[choice.variant].name, choice.reason.name())
}

#[test]
fn the_objective_takes_its_best() {
    let objective = |objective| Requirements { objective: Some(objective), ..Requirements::default() };
    assert_eq!(chosen(&Requirements::default()), ("small", "cost"), "its twin is not clearly cheaper and comes later");
    assert_eq!(chosen(&objective(Objective::Latency)), ("small", "latency"));
    assert_eq!(chosen(&objective(Objective::Accuracy)), ("large", "accuracy"));
    assert_eq!(chosen(&Requirements { default: Some("middle"), ..Requirements::default() }), ("middle", "default"));
    assert_eq!(
        chosen(&Requirements { variant: Some("large"), shed: 9, ..Requirements::default() }),
        ("large", "requested")
    );
}

#[test]
fn floors_and_ceilings_bind() {
    assert_eq!(chosen(&Requirements { min_accuracy: Some(0.6), ..Requirements::default() }), ("middle", "cost"));
    assert_eq!(
        chosen(&Requirements { min_accuracy: Some(0.8), shed: 9, ..Requirements::default() }),
        ("large", "only")
    );
    let accurate = Requirements { objective: Some(Objective::Accuracy), ..Requirements::default() };
    assert_eq!(chosen(&Requirements { max_cost_usd: Some(3.0), ..accurate }), ("middle", "accuracy"));
    assert_eq!(chosen(&Requirements { within: Some(Duration::from_millis(30)), ..accurate }), ("middle", "deadline"));
    assert_eq!(chosen(&Requirements { within: Some(Duration::from_millis(1)), ..accurate }), ("small", "deadline"));
    assert_eq!(chosen(&Requirements { save: true, ..accurate }), ("small", "budget"));
}

#[test]
fn under_load_the_heaviest_are_closed() {
    let accurate = Requirements { objective: Some(Objective::Accuracy), ..Requirements::default() };
    assert_eq!(chosen(&Requirements { shed: 1, ..accurate }), ("middle", "load"));
    assert_eq!(chosen(&Requirements { shed: 2, ..accurate }), ("small", "load"));
    assert_eq!(chosen(&Requirements { shed: 7, ..accurate }), ("small", "load"), "somebody has to answer");
    let floor = Requirements { min_accuracy: Some(0.6), shed: 2, ..accurate };
    assert_eq!(chosen(&floor), ("middle", "load"), "never below the floor");
}

#[test]
fn what_disagrees_is_passed_over_if_there_is_another() {
    let mut candidates = three();
    candidates[2].agreement = Some(0.4);
    candidates[3].agreement = Some(0.95);
    let requirements = Requirements { min_agreement: Some(0.9), ..Requirements::default() };
    assert_eq!(select(&candidates, &requirements).map(|choice| choice.variant), Ok(3));
    let choice = select(&candidates[2..3], &requirements).expect("the only one");
    assert_eq!((choice.variant, choice.reason), (0, Reason::Only));
}

#[test]
fn a_limit_that_nobody_meets_is_named() {
    let refused = |requirements: Requirements<'_>| select(&three(), &requirements).expect_err("refused").to_string();
    insta::assert_snapshot!(
        refused(Requirements { min_accuracy: Some(0.95), ..Requirements::default() }),
        @r#"no variant reaches 0.95; the most accurate one, "large", has 0.9"#
    );
    insta::assert_snapshot!(
        refused(Requirements { max_cost_usd: Some(1e-9), min_accuracy: Some(0.6), ..Requirements::default() }),
        @r#"no variant answers for 1e-9 dollars; the cheapest that will do, "middle", costs about 2.00e0"#
    );
    insta::assert_snapshot!(
        refused(Requirements { variant: Some("small"), min_accuracy: Some(0.6), ..Requirements::default() }),
        @r#"no variant reaches 0.6; the most accurate one, "small", has 0.5"#
    );
    insta::assert_snapshot!(
        refused(Requirements { variant: Some("fp8"), ..Requirements::default() }),
        @r#"there is no variant "fp8"; there are middle, large, small, twin"#
    );
}

proptest! {
    /// Whatever the requirements are, the chosen variant is above the floor and below the ceiling; an error means that
    /// no variant is.
    #[test]
    fn no_answer_breaks_a_limit(
        variants in prop::collection::vec((0.0..1.0f64, 0.1..9.0f64, 1u64..100), 1..6),
        floor in prop::option::of(0.0..1.0f64),
        ceiling in prop::option::of(0.1..9.0f64),
        shed in 0usize..6,
        save in any::<bool>(),
        within_ms in prop::option::of(1u64..100),
    ) {
        let candidates: Vec<_> =
            variants.iter().map(|&(accuracy, usd, alone_ms)| candidate("v", accuracy, usd, alone_ms)).collect();
        let within = within_ms.map(Duration::from_millis);
        let requirements = Requirements { min_accuracy: floor, max_cost_usd: ceiling, shed, save, within, ..Requirements::default() };
        let will_do = |c: &Candidate<'_>| {
            floor.is_none_or(|floor| c.accuracy >= Some(floor)) && ceiling.is_none_or(|most| c.usd <= most)
        };
        match select(&candidates, &requirements) {
            Ok(choice) => prop_assert!(will_do(&candidates[choice.variant])),
            Err(_) => prop_assert!(!candidates.iter().any(will_do)),
        }
    }
}

use super::*;

const LIMITS: Limits = Limits {
    idle: Duration::from_secs(30),
    write: Duration::from_secs(20),
    age: Some(Duration::from_secs(60)),
    linger: Duration::from_millis(250),
};

/// A connection that is looked at every second.
struct Story {
    life: Life,
    begun: Instant,
    second: u64,
}

impl Story {
    fn new(limits: Limits) -> Self {
        let begun = Instant::now();
        Self { life: Life::new(limits, begun), begun, second: 0 }
    }

    fn now(&self) -> Instant {
        self.begun + Duration::from_secs(self.second)
    }

    /// Goes on with these counts until something is to be done, and says in which second that is.
    fn until_a_step(&mut self, is_http2: bool, mut counts: impl FnMut(u64) -> Counts) -> (u64, Step) {
        for _ in 0..1000 {
            self.second += 1;
            let step = self.life.look(counts(self.second), is_http2, self.now());
            if step != Step::GoOn {
                return (self.second, step);
            }
        }
        (self.second, Step::GoOn)
    }
}

const OLD: Limits = Limits { age: None, ..LIMITS };

fn at_work(requests: u64) -> Counts {
    Counts { computing: 1, requests, ..Counts::default() }
}

fn idle(requests: u64) -> Counts {
    Counts { requests, ..Counts::default() }
}

#[test]
fn a_silent_connection_ends() {
    assert_eq!(Story::new(LIMITS).until_a_step(false, |_| idle(0)), (30, Step::Close("no request came")));
}

#[test]
fn an_idle_http2_connection_is_told_and_then_closed() {
    let mut story = Story::new(OLD);
    let counts = |second| if second < 10 { at_work(1) } else { idle(1) };
    assert_eq!(story.until_a_step(true, counts), (39, Step::Shut));
    assert_eq!(story.until_a_step(true, counts), (40, Step::Close("the client does not end it")));
}

#[test]
fn who_asks_again_and_again_stays_until_its_age() {
    assert_eq!(Story::new(OLD).until_a_step(false, |second| idle(second / 29)), (1000, Step::GoOn));
    let mut story = Story::new(LIMITS);
    assert_eq!(story.until_a_step(false, idle), (60, Step::Leave), "the next answer ends it");
    assert_eq!(story.until_a_step(false, |_| idle(60)).1, Step::Close("no request came"));
    assert_eq!(Story::new(LIMITS).until_a_step(true, idle), (60, Step::Shut));
}

#[test]
fn a_request_is_never_cut_however_long_it_takes() {
    let mut story = Story::new(LIMITS);
    assert_eq!(story.until_a_step(true, |_| at_work(1)), (60, Step::Shut));
    assert_eq!(story.until_a_step(true, |_| at_work(1)).1, Step::GoOn);
}

#[test]
fn who_does_not_read_is_closed() {
    let waiting = |sent| Counts { sending: 1, requests: 1, sent, ..Counts::default() };
    assert_eq!(
        Story::new(OLD).until_a_step(false, |_| waiting(0)),
        (20, Step::Close("the client does not read its answers"))
    );
    let slowly = Story::new(OLD).until_a_step(false, |second| waiting(second * 900));
    assert_eq!(slowly.1, Step::Close("the client does not read its answers"), "a drop now and then is not enough");
    assert_eq!(Story::new(OLD).until_a_step(false, |second| waiting(second * 2000)).1, Step::GoOn);
}

#[test]
fn closing_waits_for_what_is_on_its_way_and_for_nothing_else() {
    let mut story = Story::new(LIMITS);
    story.life.enter(Phase::Closing, story.now());
    assert_eq!(story.until_a_step(true, |_| idle(0)), (1, Step::Shut));
    assert_eq!(story.until_a_step(true, |_| idle(0)), (2, Step::Close("the client does not end it")));

    let mut story = Story::new(LIMITS);
    story.life.enter(Phase::Closing, story.now());
    assert_eq!(story.until_a_step(true, |_| at_work(1)), (1, Step::Shut));
    assert_eq!(story.until_a_step(true, |_| at_work(1)).1, Step::GoOn);

    let mut story = Story::new(LIMITS);
    story.life.enter(Phase::Draining, story.now());
    assert_eq!(story.until_a_step(false, |_| idle(1)), (1, Step::Leave));
}

#[test]
fn looks_are_rare_but_for_what_is_due() {
    let begun = Instant::now();
    let mut life = Life::new(LIMITS, begun);
    assert_eq!(life.next_look(begun), begun + Duration::from_secs(5));
    assert_eq!(life.next_look(begun + Duration::from_secs(58)), begun + Duration::from_secs(60));
    life.enter(Phase::Closing, begun);
    assert_eq!(life.look(idle(0), false, begun), Step::Leave);
    assert_eq!(life.next_look(begun), begun + Duration::from_millis(250));
}

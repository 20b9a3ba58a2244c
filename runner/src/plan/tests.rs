//! The plan as a table: what happens, at which moment, and what it wants done.
use dsg_schemas::ids::RunnerId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Ended;

use super::*;
use crate::attempt::test_order;

const A: AttemptId = AttemptId(1);
const B: AttemptId = AttemptId(2);

fn greeted(session: u64) -> Event {
    Event::Greeted(greeting(session))
}

fn greeting(session: u64) -> HelloAnswer {
    HelloAnswer {
        runner: RunnerId(1),
        name: "ada".to_owned(),
        grid: "g".to_owned(),
        session: SessionId(session),
        lease_ms: 60_000,
        renew_ms: 15_000,
    }
}

fn orders(seq: u64, start: &[AttemptId], stop: &[AttemptId], forget: &[AttemptId]) -> Event {
    let start = start.iter().map(|attempt| test_order(attempt.0)).collect();
    let stop = stop.iter().map(|attempt| StopOrder { attempt: *attempt, reason: EndReason::Cancelled }).collect();
    Event::Answered(SyncAnswer {
        seq,
        orders: Orders { start, stop, forget: forget.to_vec() },
        drain: false,
        pause: false,
    })
}

fn nothing(seq: u64) -> Event {
    orders(seq, &[], &[], &[])
}

fn ended() -> Phase {
    Phase::Ended(Box::new(Ended::before_start(EndReason::Succeeded, "")))
}

fn running() -> Phase {
    Phase::Running { since_ms: 1, paused: false }
}

/// Steps in short: `hello`, `news 3 [1 running]`, `idle 4 []`, `start 1`, `stop 1`, `forget 1`, `quit`.
fn shown(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        // The first answer of each life says it, and nothing follows from it.
        .filter(|step| **step != Step::Freeze(false))
        .map(|step| match step {
            Step::Hello => "hello".to_owned(),
            Step::Sync(request) => {
                let kind = if request.wait_ms == 0 { "news" } else { "idle" };
                let phases: Vec<_> =
                    request.attempts.iter().map(|held| format!("{} {}", held.attempt, word(held))).collect();
                let more = if request.no_more.is_some() { " no more" } else { "" };
                let facts =
                    request.facts.as_ref().map(|facts| format!(" disk {}", facts.disk_bytes)).unwrap_or_default();
                format!("{kind} {} [{}]{more}{facts}", request.seq, phases.join(", "))
            }
            Step::Start(order) => format!("start {}", order.attempt),
            Step::GoOn(attempt) => format!("go on {attempt}"),
            Step::Stop(order) => format!("stop {}", order.attempt),
            Step::Forget(attempt) => format!("forget {attempt}"),
            Step::Freeze(_) => "freeze".to_owned(),
            Step::Quit => "quit".to_owned(),
        })
        .collect()
}

fn word(held: &AttemptReport) -> &'static str {
    match held.phase {
        Phase::Preparing { .. } => "preparing",
        Phase::Running { .. } => "running",
        Phase::Storing => "storing",
        Phase::Ended(_) => "ended",
    }
}

/// Each row: the moment, what happens, and what must come of it.
fn check(mut plan: Plan, rows: Vec<(Millis, Event, &[&str])>) -> Plan {
    for (n, (now, event, expected)) in rows.into_iter().enumerate() {
        let shown_event = format!("{event:?}");
        assert_eq!(shown(&plan.handle(now, event)), expected, "row {n} at {now}: {shown_event}");
    }
    plan
}

fn fresh() -> Plan {
    Plan::new([], 7)
}

#[test]
fn an_attempt_from_offer_to_forget() {
    check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (1, greeted(5), &["news 1 []"]),
            (2, nothing(1), &["idle 2 []"]),
            (100, orders(2, &[A], &[], &[]), &["start 1"]),
            (105, Event::Wake, &["idle 3 [1 preparing]"]),
            (110, Event::Progress(A, running()), &[]),
            (310, Event::Wake, &["news 4 [1 running]"]),
            (311, nothing(4), &["idle 5 [1 running]"]),
            (320, Event::Progress(A, ended()), &["news 6 [1 ended]"]),
            // Repeated until it is forgotten.
            (323, nothing(6), &["idle 7 [1 ended]"]),
            (330, orders(7, &[], &[], &[A]), &["forget 1", "idle 8 []"]),
            (331, Event::Progress(A, running()), &[]),
        ],
    );
}

#[test]
fn an_answer_to_an_older_sync_is_dropped() {
    let plan = check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 []"]),
            (0, orders(1, &[A], &[], &[]), &["start 1"]),
            (5, Event::Wake, &["idle 2 [1 preparing]"]),
            (7, Event::Progress(A, ended()), &["news 3 [1 ended]"]),
            (10, orders(2, &[B], &[A], &[A]), &[]),
            (11, orders(1, &[B], &[], &[]), &[]),
            (12, orders(3, &[], &[], &[A]), &["forget 1", "idle 4 []"]),
        ],
    );
    assert_eq!(plan.holds(), 0);
}

#[test]
fn a_lost_answer_is_asked_for_again_with_all_that_is_held() {
    let plan = check(
        Plan::new([(A, running())], 7),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 [1 running]"]),
            (50, Event::Failed { seq: 1, failure: Failure::Unreachable }, &[]),
            (60, Event::Progress(A, ended()), &[]),
            (62, Event::Wake, &[]),
            (400, Event::Wake, &["news 2 [1 ended]"]),
            // The old one was lost, not late: but should it come, it changes nothing.
            (401, orders(1, &[B], &[], &[]), &[]),
            (500, Event::Failed { seq: 1, failure: Failure::Unreachable }, &[]),
        ],
    );
    assert_eq!(plan.wake_at(), None, "the request in flight has a deadline of its own");
}

#[test]
fn offers_that_are_held_already_are_not_started_twice_and_stops_are_given_once() {
    check(
        Plan::new([(A, running())], 7),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 [1 running]"]),
            (1, orders(1, &[A], &[A], &[]), &["stop 1", "idle 2 [1 running]"]),
            (2, orders(2, &[], &[A, B], &[]), &["idle 3 [1 running]"]),
            // Settled by the server while it still runs: it is ended first.
            (3, orders(3, &[], &[], &[A, B]), &["idle 4 [1 running]"]),
        ],
    );
    check(
        Plan::new([(A, running())], 7),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 [1 running]"]),
            (1, orders(1, &[], &[], &[A]), &["stop 1", "idle 2 [1 running]"]),
        ],
    );
}

#[test]
fn a_server_that_restarted_is_greeted_again() {
    check(
        Plan::new([(A, running())], 7),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 [1 running]"]),
            (1, nothing(1), &["idle 2 [1 running]"]),
            (9, Event::Failed { seq: 2, failure: Failure::HelloFirst }, &["hello"]),
            (10, greeted(6), &["news 1 [1 running]"]),
            (11, Event::Failed { seq: 1, failure: Failure::StaleSeq }, &["news 1002 [1 running]"]),
        ],
    );
}

#[test]
fn news_about_the_host_are_said_until_they_are_answered() {
    let disk = |disk_bytes| Event::Health(None, Some(Box::new(Facts { disk_bytes, ..Facts::default() })));
    check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 []"]),
            (1, nothing(1), &["idle 2 []"]),
            (2, disk(7), &[]),
            (52, Event::Wake, &["news 3 [] disk 7"]),
            // Newer news while the older ones are on their way: the answer to those settles nothing.
            (60, disk(8), &[]),
            (61, nothing(3), &["idle 4 [] disk 8"]),
            (111, Event::Failed { seq: 4, failure: Failure::HelloFirst }, &["hello"]),
            (112, greeted(6), &["news 1 [] disk 8"]),
            (113, nothing(1), &["idle 2 []"]),
        ],
    );
}

#[test]
fn a_stop_of_the_process_is_told_once_and_takes_nothing_more() {
    check(
        Plan::new([(A, running())], 7),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 [1 running]"]),
            (1, Event::Stopping, &[]),
            (2, orders(1, &[B], &[], &[]), &["news 2 [1 running] no more"]),
            (3, nothing(2), &["quit"]),
        ],
    );
    // What the last answer settles is left to nobody; what it orders is.
    check(
        Plan::new([(A, ended()), (B, running())], 7),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 [1 ended, 2 running]"]),
            (1, Event::Stopping, &[]),
            (2, nothing(1), &["news 2 [1 ended, 2 running] no more"]),
            (3, orders(2, &[], &[B], &[A, B]), &["forget 1", "quit"]),
        ],
    );
    check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 []"]),
            (1, nothing(1), &["idle 2 []"]),
            (5, Event::Stopping, &["news 3 [] no more"]),
            (6, Event::Failed { seq: 3, failure: Failure::Unreachable }, &["quit"]),
        ],
    );
    check(fresh(), vec![(0, Event::Wake, &["hello"]), (1, Event::Stopping, &[])]);
}

#[test]
fn a_server_that_answers_idle_syncs_at_once_does_not_make_us_spin() {
    let plan = check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 []"]),
            (1, nothing(1), &["idle 2 []"]),
            (2, nothing(2), &[]),
        ],
    );
    assert_eq!(plan.wake_at(), Some(1_002));
}

#[test]
fn what_the_host_does_is_told_more_often_while_something_runs_there() {
    let wait_of = |steps: &[Step]| match steps {
        [.., Step::Sync(idle)] => idle.wait_ms,
        _ => panic!("{steps:?}"),
    };
    let mut plan = check(fresh(), vec![(0, Event::Wake, &["hello"]), (0, greeted(5), &["news 1 []"])]);
    assert_eq!(wait_of(&plan.handle(1, nothing(1))), LOAD_MS);
    assert_eq!(wait_of(&plan.handle(SYNC_WAIT_MS, nothing(2))), SYNC_WAIT_MS, "nothing has run for a while");
    let (taken, over) = (30_000, 60_000);
    let mut plan = check(
        plan,
        vec![(taken, orders(3, &[A], &[], &[]), &["start 1"]), (taken, Event::Progress(A, running()), &[])],
    );
    assert_eq!(wait_of(&plan.handle(taken + 5, Event::Wake)), LOAD_MS);
    let mut plan = check(plan, vec![(over, Event::Progress(A, ended()), &["news 5 [1 ended]"])]);
    let steps = plan.handle(over + 10, orders(5, &[], &[], &[A]));
    assert_eq!(wait_of(&steps), LOAD_MS, "it is seen to come to rest");
    assert_eq!(wait_of(&plan.handle(over + 10 + SYNC_WAIT_MS, nothing(6))), SYNC_WAIT_MS);
}

#[test]
fn a_short_lease_makes_us_quicker_in_everything() {
    let hello = HelloAnswer { lease_ms: 3_000, renew_ms: 750, ..greeting(5) };
    let mut plan = check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, Event::Greeted(hello), &["news 1 []"]),
            (1, orders(1, &[A], &[], &[]), &["start 1"]),
        ],
    );
    assert_eq!(plan.call_ms(), 1_000, "and 15 s where a lease lasts a minute: {}", fresh().call_ms());
    let steps = plan.handle(6, Event::Wake);
    let [Step::Sync(idle)] = &steps[..] else { panic!("{steps:?}") };
    assert_eq!(idle.wait_ms, 750);
    for _ in 0..9 {
        let now = plan.wake_at().unwrap_or(7);
        plan.handle(now, Event::Failed { seq: plan.seq, failure: Failure::Unreachable });
        plan.handle(now, Event::Wake);
        assert!(plan.not_before - now <= 500, "{} ms", plan.not_before - now);
        plan.handle(plan.not_before, Event::Wake);
    }
}

#[test]
fn waits_grow_with_failures_and_stay_below_the_lease() {
    let mut plan = fresh();
    assert_eq!(shown(&plan.handle(0, Event::Wake)), ["hello"]);
    let (mut now, mut waits) = (0, Vec::new());
    for _ in 0..20 {
        assert_eq!(shown(&plan.handle(now, Event::Failed { seq: 0, failure: Failure::Unreachable })), [""; 0]);
        let at = plan.wake_at().expect("a next try");
        waits.push(at - now);
        now = at;
        assert_eq!(shown(&plan.handle(now, Event::Wake)), ["hello"]);
    }
    assert!(waits[0] <= BACKOFF_FIRST_MS && waits.iter().all(|wait| *wait <= BACKOFF_MAX_MS), "{waits:?}");
    assert!(waits[19] >= BACKOFF_MAX_MS / 2, "{waits:?}");
}

#[test]
fn trouble_is_told_when_it_changes() {
    check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 []"]),
            (1, nothing(1), &["idle 2 []"]),
            (5, Event::Health(None, None), &[]),
            (6, Event::Health(Some("no engine".to_owned()), None), &[]),
            (56, Event::Wake, &["news 3 [] no more"]),
            (57, nothing(3), &["idle 4 [] no more"]),
        ],
    );
}

#[test]
fn what_was_not_started_waits_for_the_servers_word() {
    let preparing = || Phase::Preparing { note: String::new() };
    let held = [(A, preparing()), (B, preparing())];
    check(
        Plan::new(held, 7),
        vec![
            (0, Event::Wake, &["hello"]),
            (5, greeted(1), &["news 1 [1 preparing, 2 preparing]"]),
            (10, orders(1, &[], &[A], &[]), &["stop 1", "go on 2", "idle 2 [1 preparing, 2 preparing]"]),
            // Once.
            (1_500, nothing(2), &["idle 3 [1 preparing, 2 preparing]"]),
        ],
    );
}

#[test]
fn a_pause_comes_before_what_it_came_with_and_is_said_once() {
    let paused = |seq, start: &[AttemptId], pause| match orders(seq, start, &[], &[]) {
        Event::Answered(answer) => Event::Answered(SyncAnswer { pause, ..answer }),
        other => other,
    };
    let mut plan = fresh();
    let mut freezes = Vec::new();
    let mut step = |now, event| {
        let steps = plan.handle(now, event);
        freezes.extend(steps.iter().filter(|step| matches!(step, Step::Freeze(_))).cloned());
        shown(&steps)
    };
    step(0, Event::Wake);
    step(0, greeted(5));
    step(1, nothing(1));
    assert_eq!(step(2, paused(2, &[A], true)), ["freeze", "start 1"]);
    assert_eq!(step(10, Event::Wake), ["idle 3 [1 preparing]"]);
    assert_eq!(step(2_000, paused(3, &[], true)), ["idle 4 [1 preparing]"]);
    assert_eq!(step(4_000, paused(4, &[], false)), ["idle 5 [1 preparing]"]);
    assert_eq!(freezes, [Step::Freeze(false), Step::Freeze(true), Step::Freeze(false)]);
}

#[test]
fn what_was_ordered_before_the_owner_came_back_is_not_started() {
    let word = |why: Option<&str>, then| Event::Owner(Word { why: why.map(str::to_owned), then });
    check(
        fresh(),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 []"]),
            (1, orders(1, &[A], &[], &[]), &["start 1"]),
            (6, Event::Wake, &["idle 2 [1 preparing]"]),
            (7, word(Some("hours"), AtEnd::Evict), &["stop 1"]),
            (8, orders(2, &[B], &[], &[]), &["idle 3 [1 preparing] no more"]),
            (58, orders(3, &[], &[A], &[]), &["idle 4 [1 preparing] no more"]),
            (60, Event::Progress(A, ended()), &["news 5 [1 ended] no more"]),
            (63, orders(5, &[], &[], &[A]), &["forget 1", "idle 6 [] no more"]),
            (70, word(None, AtEnd::Finish), &[]),
            (120, Event::Wake, &["news 7 []"]),
            (121, orders(7, &[B], &[], &[]), &["start 2"]),
        ],
    );
}

#[test]
fn a_lifetime_ends_with_what_is_left_or_a_minute_after_its_grace() {
    let limits = Limits { ends_at: Some(1_000), idle_ms: None, grace_ms: 0 };
    let begun = || {
        check(
            fresh().with_limits(limits),
            vec![
                (0, Event::Wake, &["hello"]),
                (0, greeted(5), &["news 1 []"]),
                (1, orders(1, &[A], &[], &[]), &["start 1"]),
                (6, Event::Wake, &["idle 2 [1 preparing]"]),
            ],
        )
    };
    let mut plan = begun();
    assert_eq!(plan.wake_at(), Some(1_000));
    assert_eq!(shown(&plan.handle(1_000, Event::Wake)), ["stop 1", "news 3 [1 preparing] no more"]);
    plan.handle(1_001, nothing(3));
    assert_eq!(shown(&plan.handle(1_010, Event::Progress(A, ended()))), ["news 5 [1 ended] no more"]);
    assert_eq!(shown(&plan.handle(1_021, orders(5, &[], &[], &[A]))), ["forget 1", "news 6 [] no more"]);
    assert_eq!(shown(&plan.handle(1_022, nothing(6))), ["quit"]);
    let mut plan = begun();
    plan.handle(1_000, Event::Wake);
    let grace = test_order(1).timeouts.grace_ms;
    assert_eq!(shown(&plan.handle(1_000 + grace + 59_999, Event::Wake)), [""; 0]);
    assert_eq!(shown(&plan.handle(1_000 + grace + 60_000, Event::Wake)), ["quit"], "whatever is left");
}

#[test]
fn patience_without_work_begins_anew_after_each_attempt() {
    let limits = Limits { ends_at: None, idle_ms: Some(500), grace_ms: 0 };
    let mut plan = check(
        fresh().with_limits(limits),
        vec![
            (0, Event::Wake, &["hello"]),
            (0, greeted(5), &["news 1 []"]),
            (400, orders(1, &[A], &[], &[]), &["start 1"]),
            (405, Event::Wake, &["idle 2 [1 preparing]"]),
            (2_000, Event::Progress(A, ended()), &["news 3 [1 ended]"]),
            (2_010, orders(3, &[], &[], &[A]), &["forget 1", "idle 4 []"]),
            (2_509, Event::Wake, &[]),
        ],
    );
    assert_eq!(plan.wake_at(), Some(2_510));
    assert_eq!(shown(&plan.handle(2_510, Event::Wake)), ["news 5 [] no more"]);
    assert_eq!(shown(&plan.handle(2_520, nothing(5))), ["quit"]);
}

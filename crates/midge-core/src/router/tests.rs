use super::*;
use crate::session::Session;
use midge_codec::{SubscriptionOptions, TopicFilter};

fn matches(filter: &str, topic: &str) -> bool {
    TopicFilter::new(filter).unwrap().matches(topic)
}

fn session(id: &str) -> Arc<Session> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    Arc::new(Session::new(id.into(), None, number))
}

fn record(qos: QoS, id: u32) -> SubRecord {
    SubRecord {
        options: SubscriptionOptions {
            qos,
            ..Default::default()
        },
        id,
        shared: false,
    }
}

fn insert(router: &mut Router, filter: &str, session: &Arc<Session>, qos: QoS, id: u32) {
    let shared = is_shared(filter);
    router.insert(
        &filter.into(),
        Subscriber::Session(session.clone()),
        record(qos, id),
        shared,
    );
}

fn remove(router: &mut Router, filter: &str, session: &Arc<Session>) -> Option<EmptiedTrie> {
    router.remove(
        filter,
        &Subscriber::Session(session.clone()),
        is_shared(filter),
    )
}

fn names(router: &Router, topic: &str) -> Vec<String> {
    let mut names: Vec<String> = router
        .resolve(topic, None)
        .iter()
        .map(|target| match target {
            Target::One(SubTarget {
                subscriber: Subscriber::Session(s),
                ..
            }) => s.client_id.to_string(),
            Target::One(_) => "observer".into(),
            Target::Group(group) => group.filter.to_string(),
        })
        .collect();
    names.sort();
    names
}

const FILTERS: [&str; 18] = [
    "#", "+", "/", "/+", "+/+", "+/#", "a", "a/#", "a/+", "a/b", "a/+/c", "a/b/#", "+/b/+", "a//c",
    "$SYS/#", "$SYS/+", "/#", "+/b/c",
];
const TOPICS: [&str; 14] = [
    "a", "a/b", "a/b/c", "a/", "/", "/a", "a//c", "b", "b/b/c", "$SYS/x", "$SYS", "$SYS/x/y",
    "x/b/c/d", "a/b/c/d",
];

#[test]
fn the_router_agrees_with_the_definition_of_matching() {
    let mut router = Router::default();
    let sessions: Vec<_> = FILTERS.iter().map(|filter| session(filter)).collect();
    for (filter, session) in FILTERS.iter().zip(&sessions) {
        insert(&mut router, filter, session, QoS::AtMostOnce, 0);
    }

    for topic in TOPICS {
        let mut expected: Vec<_> = FILTERS
            .iter()
            .filter(|filter| matches(filter, topic))
            .map(|filter| (*filter).to_owned())
            .collect();
        expected.sort();
        assert_eq!(names(&router, topic), expected, "{topic}");
    }

    for (filter, session) in FILTERS.iter().zip(&sessions) {
        remove(&mut router, filter, session);
        assert!(
            !TOPICS
                .iter()
                .any(|topic| names(&router, topic).contains(&(*filter).to_owned()))
        );
    }

    assert_eq!(router.exact.len(), 0);
}

#[test]
fn overlapping_subscriptions_become_one_target_with_all_identifiers() {
    let mut router = Router::default();
    let (one, two) = (session("one"), session("two"));
    insert(&mut router, "a/+", &one, QoS::AtMostOnce, 7);
    insert(&mut router, "a/#", &one, QoS::ExactlyOnce, 7);
    insert(&mut router, "a/b", &one, QoS::AtLeastOnce, 0);
    insert(&mut router, "a/b", &two, QoS::AtLeastOnce, 0);
    let targets = router.resolve("a/b", None);
    assert_eq!(targets.len(), 2);
    let Some(Target::One(target)) = targets.iter().find(
        |t| matches!(t, Target::One(t) if t.subscriber.same(&Subscriber::Session(one.clone()))),
    ) else {
        panic!("no target");
    };
    assert_eq!(target.qos, QoS::ExactlyOnce);
    assert_eq!(target.extra.as_ref().unwrap().ids, [7, 7]);
}

#[test]
fn no_local_hides_only_that_subscription() {
    let mut router = Router::default();
    let own = session("own");
    let options = SubscriptionOptions {
        no_local: true,
        ..Default::default()
    };

    let subscriber = Subscriber::Session(own.clone());
    router.insert(
        &"a".into(),
        subscriber,
        SubRecord {
            options,
            id: 1,
            shared: false,
        },
        false,
    );
    assert!(router.resolve("a", Some(&own.client_id)).is_empty());
    assert_eq!(router.resolve("a", None).len(), 1);
    insert(&mut router, "+", &own, QoS::AtMostOnce, 2);

    let targets = router.resolve("a", Some(&own.client_id));
    assert!(matches!(
        &targets[..],
        [Target::One(SubTarget {
            id: 2,
            extra: None,
            ..
        })]
    ));
}

#[test]
fn shared_groups_come_and_go() {
    let mut router = Router::default();
    let (one, two) = (session("one"), session("two"));
    insert(&mut router, "$share/g/a/+", &one, QoS::AtMostOnce, 0);
    insert(&mut router, "$share/g/a/+", &two, QoS::AtMostOnce, 0);
    insert(&mut router, "$share/h/a/b", &two, QoS::AtMostOnce, 0);
    assert_eq!(names(&router, "a/b"), ["$share/g/a/+", "$share/h/a/b"]);

    let group = router.group("$share/g/a/+").unwrap();
    let order: Vec<_> = (0..4)
        .map(|_| match group.candidates().first.unwrap().subscriber {
            Subscriber::Session(session) => session.client_id.to_string(),
            Subscriber::Observer(_) => unreachable!(),
        })
        .collect();
    assert_eq!(order, ["one", "two", "one", "two"]);
    remove(&mut router, "$share/g/a/+", &one);
    remove(&mut router, "$share/g/a/+", &two);
    assert_eq!(names(&router, "a/b"), ["$share/h/a/b"]);
    remove(&mut router, "a/b", &two);
    assert_eq!(names(&router, "a/b"), ["$share/h/a/b"]);
}

#[test]
fn what_very_many_filters_leave_behind_comes_back_once_and_shrinks() {
    let mut router = Router::default();
    let session = session("s");
    let filters: Vec<String> = (0..60_000).map(|at| format!("many/{at}/+")).collect();
    for _ in 0..2 {
        for filter in &filters {
            insert(&mut router, filter, &session, QoS::AtMostOnce, 0);
        }
        assert_eq!(names(&router, "many/19999/x"), ["s"]);
        let emptied: Vec<EmptiedTrie> = filters
            .iter()
            .filter_map(|filter| remove(&mut router, filter, &session))
            .collect();
        assert_eq!(names(&router, "many/19999/x"), [""; 0]);
        let [mut emptied] = <[EmptiedTrie; 1]>::try_from(emptied).ok().unwrap();
        let steps = (0..).take_while(|_| emptied.shrink()).count();
        assert!(steps > 1);
    }

    insert(&mut router, "few/+", &session, QoS::AtMostOnce, 0);
    assert!(remove(&mut router, "few/+", &session).is_none());
}

#[test]
fn long_levels_are_told_apart_and_forgotten() {
    let mut router = Router::default();
    let session = session("s");
    let long = |n: usize| format!("a level of more than fifteen bytes, number {n}");
    let filters: Vec<String> = (0..50)
        .map(|n| format!("{}/+/{}", long(n % 5), long(n)))
        .collect();

    for filter in &filters {
        insert(&mut router, filter, &session, QoS::AtMostOnce, 0);
    }

    for (n, filter) in filters.iter().enumerate() {
        let topic = |last| format!("{}/x/{}", long(n % 5), long(last));
        assert_eq!(names(&router, &topic(n)), ["s"]);
        assert_eq!(names(&router, &topic(n + 1)), [""; 0]);
        remove(&mut router, filter, &session);
        assert_eq!(names(&router, &topic(n)), [""; 0]);
        assert_eq!(names(&router, &topic(n + 5)).len(), usize::from(n < 45));
    }

    assert_eq!(router.wild.long_levels(), 0);
}

#[test]
fn tables_are_charged_as_they_grow_until_they_are_empty() {
    let budget = Budget::new(0);
    let mut router = Router::new(&budget);
    let session = session("s");
    let charged = || budget.of(Part::Subscriptions);
    assert_eq!(charged(), 0);

    // A filter that a group alone has stands in both tables.
    let filters = ["a", "b", "$share/g/c"];
    for (filter, places) in filters.iter().zip([1, 2, 4]) {
        insert(&mut router, filter, &session, QoS::AtMostOnce, 0);
        assert_eq!(charged(), places * PLACE, "{filter}");
    }
    for (filter, places) in filters.iter().zip([4, 4, 0]) {
        remove(&mut router, filter, &session);
        assert_eq!(charged(), places * PLACE, "{filter}");
    }

    insert(&mut router, "a/+", &session, QoS::AtMostOnce, 0);
    assert!(
        charged() > 0 && router.charge.bytes() == 0,
        "the trie has its own"
    );
}

#[test]
fn what_is_asked_for_covers_what_a_filter_takes() {
    for filter in [
        "a",
        "a/b/c/d",
        "a/+/c",
        "+/+/+/+/+",
        "#",
        "$share/g/a",
        "$share/g/+/b/#",
    ] {
        let budget = Budget::new(0);
        let mut router = Router::new(&budget);
        insert(&mut router, filter, &session("s"), QoS::AtMostOnce, 0);
        let (taken, growth) = (budget.of(Part::Subscriptions), Router::growth(filter));
        assert!(taken <= growth, "{filter}: {taken} of {growth}");
        assert!(growth <= taken + 4096, "{filter}: {taken} of {growth}");
    }

    let (plain, shared) = ("f".repeat(1000), format!("$share/g/{}", "f".repeat(991)));
    let with_group = subscription_bytes(&shared) - subscription_bytes(&plain);
    assert!(subscription_bytes(&plain) - subscription_bytes("f") == 999);
    assert!(
        (1000..2000).contains(&with_group),
        "the text again, and the group"
    );
}

fn sub(session: &Arc<Session>, id: u32) -> Sub {
    Sub::new(
        Subscriber::Session(session.clone()),
        record(QoS::AtLeastOnce, id),
    )
}

fn ids(slot: &Slot) -> Vec<u32> {
    let mut ids: Vec<u32> = slot.subs().iter().map(|sub| sub.id).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn a_slot_has_each_subscriber_once() {
    let sessions: Vec<_> = (0..4).map(|_| session("s")).collect();
    let key = |at: usize| Subscriber::Session(sessions[at].clone());
    let mut slot = Slot::default();
    assert!(slot.is_empty());

    slot.insert(sub(&sessions[0], 1));
    slot.insert(sub(&sessions[0], 10));
    assert_eq!(ids(&slot), [10], "replaced");
    slot.remove(&key(1));
    assert_eq!(ids(&slot), [10], "of another");
    slot.insert(sub(&sessions[1], 2));
    slot.insert(sub(&sessions[1], 20));
    slot.insert(sub(&sessions[2], 30));
    assert_eq!(ids(&slot), [10, 20, 30]);

    slot.remove(&key(3));
    slot.remove(&key(0));
    assert_eq!(ids(&slot), [20, 30]);
    slot.remove(&key(2));
    assert_eq!(ids(&slot), [20]);
    assert!(!slot.is_empty());
    slot.remove(&key(1));
    assert!(slot.is_empty() && slot.subs().is_empty());
}

#[test]
fn groups_of_a_filter_leave_in_any_order() {
    let named = |name: &str| Arc::new(Group::new(name.into()));
    let groups = ["$share/a/t", "$share/b/t", "$share/c/t"].map(named);
    let stranger = named("$share/x/t");

    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1]] {
        let mut slot = Slot::default();
        for group in &groups {
            slot.add_group(group.clone());
        }
        slot.remove_group(&stranger);
        assert_eq!(slot.groups().len(), 3);

        let mut left: Vec<&str> = groups.iter().map(|group| &*group.filter).collect();
        for at in order {
            assert!(!slot.is_empty());
            slot.remove_group(&groups[at]);
            slot.remove_group(&groups[at]);
            left.retain(|name| *name != &*groups[at].filter);
            let mut found: Vec<&str> = slot.groups().iter().map(|group| &*group.filter).collect();
            found.sort_unstable();
            assert_eq!(found, left);
        }
        assert!(slot.is_empty());
    }
}

#[test]
fn a_subscription_keeps_its_options() {
    let session = session("own");
    for bits in 0..12 {
        let options = SubscriptionOptions {
            qos: QoS::from_u8(bits % 3).unwrap(),
            no_local: bits & 4 != 0,
            retain_as_published: bits & 8 != 0,
            ..Default::default()
        };
        let of = |subscriber| {
            let record = SubRecord {
                options,
                id: 7,
                shared: false,
            };
            Sub::new(subscriber, record)
        };

        let own = of(Subscriber::Session(session.clone()));
        assert_eq!((own.qos(), own.id), (options.qos, 7));
        assert_eq!(own.retain_as_published(), options.retain_as_published);
        assert_eq!(own.hidden_from(Some("own")), options.no_local);
        assert!(!own.hidden_from(Some("other")) && !own.hidden_from(None));
    }
}

#[test]
fn long_levels_are_charged_with_their_text() {
    let budget = Budget::new(0);
    let mut router = Router::new(&budget);
    let session = session("s");
    let mut taken = |filter: &str| {
        let before = budget.of(Part::Subscriptions);
        insert(&mut router, filter, &session, QoS::AtMostOnce, 0);
        budget.of(Part::Subscriptions) - before
    };

    let short = taken("short/+");
    let (one, another) = ("l".repeat(100), "m".repeat(200));
    let long = taken(&format!("{one}/+"));
    assert!(long >= short + 100, "{long} {short}");
    assert_eq!(taken(&format!("{another}/+")), long + 100);
    assert!(taken(&format!("{one}/x/+")) < long, "the text is there");

    let before = budget.of(Part::Subscriptions);
    remove(&mut router, &format!("{another}/+"), &session);
    assert_eq!(before - budget.of(Part::Subscriptions), 200);
}

#[test]
fn members_of_a_group_are_asked_in_turn() {
    let group = Group::new("$share/g/t".into());
    let sessions = ["one", "two", "three", "four"].map(session);
    for session in &sessions {
        group.insert(sub(session, 0));
    }

    let name = |sub: &Sub| match &sub.subscriber {
        Subscriber::Session(session) => session.client_id.to_string(),
        Subscriber::Observer(_) => unreachable!(),
    };
    for order in [
        ["one", "two", "three", "four"],
        ["two", "three", "four", "one"],
        ["three", "four", "one", "two"],
        ["four", "one", "two", "three"],
        ["one", "two", "three", "four"],
    ] {
        let (mut asked, mut found) = (Asked::default(), Vec::new());
        let candidates = group.candidates();
        let first = candidates.first.clone().unwrap();
        asked.add(&first.subscriber);
        found.push(name(&first));
        found.extend(group.others(&candidates, &asked).iter().map(name));
        assert_eq!(found, order);

        for sub in group.others(&candidates, &asked) {
            asked.add(&sub.subscriber);
        }
        assert!(group.others(&candidates, &asked).is_empty());
    }

    assert!(group.has(&Subscriber::Session(sessions[3].clone())));
    for (left, session) in sessions.iter().enumerate() {
        let is_empty = group.remove(&Subscriber::Session(session.clone()));
        assert_eq!(is_empty, left == 3);
        assert!(!group.has(&Subscriber::Session(session.clone())));
    }
    assert!(group.candidates().first.is_none());
}

#[test]
fn a_large_group_whose_members_are_away_is_looked_through_in_parts() {
    let group = Group::new("$share/g/t".into());
    let sessions: Vec<_> = (0..2500).map(|n| session(&n.to_string())).collect();
    for session in &sessions {
        group.insert(sub(session, 0));
    }

    // A thousand are looked at for one message, and the next ones for the next.
    for expected in ["0", "1000", "2000", "500", "1500"] {
        let candidates = group.candidates();
        let Some(Subscriber::Session(first)) = candidates.first.map(|sub| sub.subscriber) else {
            panic!("no member");
        };
        assert_eq!(&*first.client_id, expected);
    }
}

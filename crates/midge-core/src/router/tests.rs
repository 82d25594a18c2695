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

use midge_codec::TopicFilter;

use super::*;
use crate::message::{Account, OwnedMessage};
use crate::time::Tick;

fn message(topic: &str) -> SharedMessage {
    OwnedMessage::new(topic, "x")
        .parts()
        .keep(None, 1, Origin::Host, Tick(0), None, Account::Host)
}

fn keep(store: &mut Retained, message: SharedMessage) {
    assert!(
        store
            .insert(message, None, (usize::MAX, usize::MAX))
            .is_ok()
    );
}

/// All pages of a filter, and how many there were.
fn pages(store: &Retained, filter: &str, until: u64) -> (Vec<String>, usize) {
    let (mut found, mut count, mut from) = (Vec::new(), 0, None);
    loop {
        let page = store.page(filter, from.as_ref(), until);
        found.extend(page.messages.iter().map(|m| m.topic().to_owned()));
        count += 1;
        from = page.next;
        if from.is_none() {
            return (found, count);
        }
    }
}

fn topics(store: &Retained, filter: &str) -> Vec<String> {
    let mut found = pages(store, filter, u64::MAX).0;
    found.sort();
    found
}

#[test]
fn filters_find_what_they_match() {
    let mut store = Retained::default();
    for topic in ["a", "a/b", "a/c/d", "ab", "b", "$x/a", "a!", "a/b!"] {
        keep(&mut store, message(topic));
    }

    for (filter, expected) in [
        ("#", &["a", "a!", "a/b", "a/b!", "a/c/d", "ab", "b"][..]),
        ("a/#", &["a", "a/b", "a/b!", "a/c/d"]),
        ("a/+", &["a/b", "a/b!"]),
        ("+", &["a", "a!", "ab", "b"]),
        ("+/+/d", &["a/c/d"]),
        ("$x/#", &["$x/a"]),
        ("$x/+", &["$x/a"]),
        ("+/a", &[]),
        ("b", &["b"]),
        ("nothing", &[]),
    ] {
        assert_eq!(topics(&store, filter), expected, "{filter}");
    }
}

#[test]
fn subtrees_come_in_the_order_of_topics() {
    let mut store = Retained::default();
    for n in (0..3_000).rev() {
        keep(&mut store, message(&format!("t/{n:05}")));
    }
    for filter in ["#", "t/#"] {
        let (found, count) = pages(&store, filter, u64::MAX);
        assert!(found.is_sorted() && found.len() == 3_000 && count > 4);
    }
}

/// Numbers that look random and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }

    fn text(&mut self, words: &[&str], levels: u64) -> String {
        let count = 1 + self.below(levels);
        let mut pick = || words[self.below(words.len() as u64) as usize];
        let levels: Vec<&str> = (0..count).map(|_| pick()).collect();
        levels.join("/")
    }
}

#[test]
fn the_store_agrees_with_the_definition_of_matching() {
    let mut random = Random(3);
    let words = ["a", "b", "", "ab", "a b", "$x", "c", "0", "1", "2", "3"];
    let wild = ["a", "b", "", "+", "+", "+", "$x", "c", "0"];
    let mut store = Retained::default();
    let mut model = BTreeMap::new();
    for round in 0..6_000 {
        let topic = random.text(&words, 5);
        if topic.is_empty() {
            continue;
        }
        if random.below(3) == 0 {
            assert_eq!(
                store.remove(&topic).is_some(),
                model.remove(&topic).is_some()
            );
        } else {
            keep(&mut store, message(&topic));
            model.insert(topic, store.stamp());
        }

        if round % 10 > 0 {
            continue;
        }
        let mut filter = random.text(&wild, 5);
        if random.below(3) == 0 {
            filter.push_str("/#");
        }
        let Ok(parsed) = TopicFilter::new(&filter) else {
            continue;
        };
        let until = store.stamp() - random.below(100).min(store.stamp());
        let mut found = pages(&store, &filter, until).0;
        found.sort();
        let expected: Vec<String> = model
            .iter()
            .filter(|(topic, stamp)| **stamp <= until && parsed.matches(topic))
            .map(|(topic, _)| topic.clone())
            .collect();
        assert_eq!(found, expected, "{filter}");
    }

    assert_eq!(store.count(), model.len());
    for topic in model.keys() {
        assert!(store.remove(topic).is_some());
    }

    assert_eq!((store.count(), store.bytes()), (0, 0));
}

#[test]
fn pages_skip_what_came_later_and_go_on_where_they_ended() {
    for filter in ["t/+", "t/#", "+/+", "#"] {
        let mut store = Retained::default();

        for n in 0..1_000 {
            keep(&mut store, message(&format!("t/{n:05}")));
        }

        let until = store.stamp();
        let first = store.page(filter, None, until);
        assert_eq!(first.messages.len(), 512, "{filter}");
        keep(&mut store, message("t/99999"));
        keep(&mut store, message("t/00700"));
        assert!(store.remove("t/00600").is_some());

        let second = store.page(filter, first.next.as_ref(), until);
        assert_eq!(second.messages.len(), 1_000 - 512 - 2, "{filter}");
        assert_eq!(second.next, None);

        // A page that was used in part only goes on behind what was used.
        let behind = first.place_behind(99);
        let again = store.page(filter, behind.as_ref(), until);
        assert_eq!(again.messages[0].topic(), "t/00100", "{filter}");
    }
}

#[test]
fn everything_lies_on_both_sides_of_the_dollar_sign() {
    let mut store = Retained::default();
    let topics: Vec<String> = (0..600)
        .flat_map(|n| [format!("!{n:03}"), format!("t/{n:03}")])
        .collect();
    for topic in &topics {
        keep(&mut store, message(topic));
    }
    for hidden in ["$", "$x", "$x/y"] {
        keep(&mut store, message(hidden));
    }

    let (found, count) = pages(&store, "#", u64::MAX);
    assert!(count > 2 && found.is_sorted());
    assert_eq!(found.len(), topics.len());
    for topic in ["!000", "!599", "t/000", "t/599"] {
        assert!(found.contains(&topic.to_owned()), "{topic}");
    }
}

#[test]
fn a_subtree_goes_on_behind_its_top() {
    let mut store = Retained::default();
    // What stands between the top and its subtree is no match.
    for topic in ["t", "t!", "t!/1", "t/1", "t/2", "t0"] {
        keep(&mut store, message(topic));
    }

    let first = store.page("t/#", None, u64::MAX);
    let names = |messages: &[SharedMessage]| -> Vec<String> {
        let topics = messages.iter().map(|message| message.topic());
        topics.map(str::to_owned).collect()
    };
    assert_eq!(names(&first.messages), ["t", "t/1", "t/2"]);
    for (used, rest) in [(0, &["t/1", "t/2"][..]), (1, &["t/2"]), (2, &[])] {
        let behind = first.place_behind(used);
        let page = store.page("t/#", behind.as_ref(), u64::MAX);
        assert_eq!(names(&page.messages), rest);
    }

    // Few topics are few steps, whichever way they are found.
    for filter in ["t/#", "+/1", "+/+", "t!/+", "#"] {
        let steps = store.page(filter, None, u64::MAX).steps;
        assert!((1..30).contains(&steps), "{filter}: {steps}");
    }
}

#[test]
fn large_messages_end_a_page() {
    let mut store = Retained::default();
    for n in 0..10 {
        let large = OwnedMessage::new(format!("t/{n}"), vec![0; 40_000]);
        let message = large
            .parts()
            .keep(None, 1, Origin::Host, Tick(0), None, Account::Host);
        keep(&mut store, message);
    }
    assert_eq!(store.page("+/+", None, u64::MAX).messages.len(), 2);
    assert_eq!(pages(&store, "#", u64::MAX).0.len(), 10);
}

#[test]
fn accounting_is_exact() {
    let mut store = Retained::default();
    let first = message("a");
    let cost = cost(&first);
    let mut store_in = |message, bounds| store.insert(message, None, bounds).is_ok();
    assert!(!store_in(first.clone(), (0, cost)) && !store_in(first.clone(), (1, cost - 1)));
    assert!(store_in(message("a"), (1, cost)));
    assert!(
        store_in(first.clone(), (1, cost)),
        "replacing needs no room"
    );
    assert!(!store_in(message("b"), (1, cost * 2)));
    assert!(!store_in(message("b"), (2, cost * 2 - 1)));
    assert_eq!((store.count(), store.bytes()), (1, cost));
    assert!(!store.remove_exact(&message("a")));
    assert!(store.remove_exact(&first));
    assert_eq!((store.count(), store.bytes()), (0, 0));
}

#[test]
fn places_are_charged_as_long_as_they_are_there() {
    let budget = Budget::new(0);
    let mut store = Retained::new(&budget);
    let bytes = |store: &Retained| -> usize {
        let shelves = store.shelves.iter().chain(&store.dollar_shelves);
        shelves.map(Shelf::bytes).sum()
    };

    let names: Vec<String> = (0..200)
        .flat_map(|n| [format!("t/{n}"), format!("{n}"), format!("$x/{n}/y")])
        .collect();
    for name in &names {
        keep(&mut store, message(name));
        assert_eq!(budget.of(Part::Retained), bytes(&store));
    }
    let most = budget.of(Part::Retained);
    assert!(most > 200 * 3 * size_of::<Entry>());

    keep(&mut store, message("t/7"));
    assert_eq!(budget.of(Part::Retained), most, "replaced");
    for name in names.iter().rev() {
        assert!(store.remove(name).is_some());
        assert_eq!(budget.of(Part::Retained), bytes(&store));
    }
    assert_eq!(budget.total(), 0);
}

#[test]
fn a_message_of_the_broker_counts_for_nothing() {
    let mut store = Retained::default();
    let own = OwnedMessage::new("$SYS/x", "x").parts().keep(
        None,
        1,
        Origin::Broker,
        Tick(0),
        None,
        Account::Host,
    );
    assert!(store.insert(own.clone(), None, (0, 0)).is_ok());
    assert!(store.insert(own, None, (0, 0)).is_ok(), "replaced");
    assert_eq!((store.count(), store.bytes()), (0, 0));
    assert_eq!(topics(&store, "$SYS/#"), ["$SYS/x"]);
    assert!(store.remove("$SYS/x").is_some());
    assert_eq!((store.count(), store.bytes()), (0, 0));
}

#[cfg(debug_assertions)]
mod work {
    use super::*;
    use crate::steps::longest_of;

    /// The steps of the longest page, and of all pages together at most.
    fn work(store: &Retained, filter: &str) -> (u64, u64) {
        let ((_, count), longest) = longest_of(|| pages(store, filter, u64::MAX));
        (longest, longest * count as u64)
    }

    #[test]
    fn leading_wildcards_do_not_walk_the_store() {
        let mut store = Retained::default();
        for n in 0..20_000 {
            keep(&mut store, message(&format!("r{n}/{n}")));
            keep(&mut store, message(&format!("deep/{n}/x/y")));
        }

        keep(&mut store, message("deep/7/x/z"));
        for (filter, found) in [
            ("+/777", 1),
            ("+/777/#", 2),
            ("+/+/+/z", 1),
            ("deep/+/+/z", 1),
            ("+/7/x/+", 2),
            ("+", 0),
            ("+/+/+", 0),
            ("nothing/+/y", 0),
            ("deep/+/#", 20_001),
        ] {
            assert_eq!(topics(&store, filter).len(), found, "{filter}");
            let (longest, all) = work(&store, filter);
            let allowed = if found > 100 { 100_000 } else { 150 };
            assert!(
                longest < 1_200 && all < allowed,
                "{filter}: {longest} {all}"
            );
        }
    }

    #[test]
    fn a_page_ends_after_some_steps_even_if_it_found_nothing() {
        let mut store = Retained::default();
        for n in 0..5_000 {
            keep(&mut store, message(&format!("a/{n}/b/x")));
            keep(&mut store, message(&format!("a/{n}/c/y")));
        }
        let (found, count) = pages(&store, "+/+/b/y", u64::MAX);
        assert!(found.is_empty() && count > 5, "{count}");
        assert!(work(&store, "+/+/b/y").0 < 1_200);
        // The remains of very many are passed in few steps.
        for n in 0..5_000 {
            store.remove(&format!("a/{n}/b/x"));
        }
        assert!(work(&store, "+/+/+/+").0 < 1_200);
    }
}

//! The caps in force: those of the configuration and those of the keys, as one list. Pure.

use super::cap::{Cap, Counter, Dim, Pick};
use super::store::Key;
use std::collections::HashMap;

/// What the configuration says about caps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shared {
    /// Caps as they are. A key in their scope is a name.
    pub caps: Vec<Cap>,
    /// Caps of each key that has none of its own for the same measure, window and models.
    pub each_key: Vec<Cap>,
    /// The shares at which a cap is told that says nothing of it itself.
    pub notify_percent: Vec<u8>,
}

/// The caps in force with these keys, each with a name; the root of the tree first. Second: names of keys that no key has.
#[must_use]
pub fn in_force(shared: &Shared, keys: &[Key]) -> (Vec<Cap>, Vec<String>) {
    let (mut caps, mut strangers) = (Vec::new(), Vec::new());
    for cap in &shared.caps {
        let Pick::Only(name) = cap.counter.scope.pick(Dim::Key) else {
            caps.push(cap.clone());
            continue;
        };
        match keys.iter().find(|k| k.name == *name) {
            Some(key) => caps.push(cap.clone().for_key(key.id)),
            None => strangers.push(name.clone()),
        }
    }
    let depth = |cap: &Cap| match (
        cap.counter.scope.pick(Dim::Key),
        cap.counter.scope.pick(Dim::Team),
        cap.counter.scope.pick(Dim::Organisation),
    ) {
        (Pick::Any, Pick::Any, Pick::Any) => 0,
        (Pick::Any, Pick::Any, _) => 1,
        (Pick::Any, ..) => 2,
        _ => 3,
    };
    caps.sort_by_key(depth);
    for key in keys.iter().filter(|k| !k.revoked) {
        let defaults = shared.each_key.iter().map(|c| c.clone().for_key(key.id));
        let own = |d: &Cap| key.caps.iter().any(|c| same_but_zone(c, d));
        caps.extend(defaults.filter(|d| !own(d)));
        caps.extend(key.caps.iter().cloned());
    }
    for cap in caps.iter_mut().filter(|c| c.notify_percent.is_empty()) {
        cap.notify_percent.clone_from(&shared.notify_percent);
    }
    name(&mut caps, keys);
    (caps, strangers)
}

/// Names the caps that have no name of the operator's, so that no two counters are called the same.
fn name(caps: &mut [Cap], keys: &[Key]) {
    let names: HashMap<String, &str> = keys
        .iter()
        .map(|key| (key.id.to_string(), key.name.as_str()))
        .collect();
    let named = caps.iter().filter(|cap| !cap.name.is_empty());
    let mut taken: HashMap<String, Counter> = named
        .map(|cap| (cap.name.clone(), cap.counter.clone()))
        .collect();
    for cap in caps.iter_mut().filter(|cap| cap.name.is_empty()) {
        let key = match cap.counter.scope.pick(Dim::Key) {
            Pick::Only(id) => names.get(id).copied(),
            Pick::Any | Pick::Each => None,
        };
        let plain = cap.called(key);
        let elsewhere = format!("{plain} {}", cap.counter.zone);
        let full = cap.counter.to_string();
        // A name that the operator has given to another cap is not used again.
        for name in [plain, elsewhere, full] {
            let other = taken.get(&name).is_some_and(|c| *c != cap.counter);
            if !other {
                taken.insert(name.clone(), cap.counter.clone());
                cap.name = name;
                break;
            }
        }
    }
}

fn same_but_zone(a: &Cap, b: &Cap) -> bool {
    let users = a.users == b.users;
    let (a, b) = (&a.counter, &b.counter);
    users && (a.measure, a.window, &a.scope) == (b.measure, b.window, &b.scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: i64, name: &str, caps: &[&str]) -> Key {
        let read = |t: &&str| Cap::parse(t).expect("a cap").for_key(id);
        Key {
            id,
            name: name.into(),
            caps: caps.iter().map(read).collect(),
            ..Key::default()
        }
    }

    #[test]
    fn a_keys_own_cap_takes_the_place_of_the_default_for_the_same_thing_only() {
        let shared = Shared {
            caps: Vec::new(),
            each_key: vec![
                Cap::parse("1usd/day").expect("a cap"),
                Cap::parse("9usd/month").expect("a cap"),
            ],
            ..Shared::default()
        };
        let keys = [
            key(1, "a", &["5usd/day"]),
            key(2, "b", &["60requests/minute", "2usd/day model=gpt-*"]),
        ];
        let (caps, _) = in_force(&shared, &keys);
        let mut names: Vec<String> = caps
            .iter()
            .map(|c| format!("{} {}", c.counter, c.text()))
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "key=1|usd|day|UTC 5usd/day",
                "key=1|usd|month|UTC 9usd/month",
                "key=2&model=gpt-*|usd|day|UTC 2usd/day model=gpt-*",
                "key=2|requests|minute|UTC 60requests/minute",
                "key=2|usd|day|UTC 1usd/day",
                "key=2|usd|month|UTC 9usd/month",
            ]
        );
    }

    #[test]
    fn a_key_that_a_cap_names_and_nobody_has_is_told() {
        let mut cap = Cap::parse("1usd/day").expect("a cap");
        cap.counter.scope = cap.counter.scope.with(Dim::Key, Pick::Only("app".into()));
        let shared = Shared {
            caps: vec![cap],
            ..Shared::default()
        };
        let (caps, strangers) = in_force(&shared, &[key(3, "app", &[])]);
        assert_eq!(
            (caps[0].counter.to_string().as_str(), strangers.len()),
            ("key=3|usd|day|UTC", 0)
        );
        assert_eq!(in_force(&shared, &[]).1, ["app"]);
    }

    #[test]
    fn every_cap_has_a_name_of_its_own() {
        let team = |zone: &str, name: &str| {
            let mut cap = Cap::parse(&format!("9usd/day@{zone}")).expect("a cap");
            let scope = cap.counter.scope.with(Dim::Team, Pick::Only("red".into()));
            cap.counter.scope = scope.tagged("app", "search");
            cap.name = name.into();
            cap
        };
        let all = Cap::parse("9usd/day").expect("a cap");
        let shared = Shared {
            caps: vec![
                team("UTC", ""),
                team("Europe/Berlin", ""),
                team("Asia/Tokyo", "all day"),
                all,
            ],
            each_key: vec![Cap::parse("1usd/month").expect("a cap")],
            notify_percent: vec![50],
        };
        let keys = [key(
            7,
            "app",
            &["60requests/minute model=gpt-* notify_percent=90,95"],
        )];
        let (caps, _) = in_force(&shared, &keys);
        let named: Vec<(&str, &[u8])> = caps.iter().map(|c| (&*c.name, c.told_at())).collect();
        assert_eq!(
            named,
            [
                ("all day UTC", &[50][..]),
                ("team red tag app=search day", &[50]),
                ("team red tag app=search day Europe/Berlin", &[50]),
                ("all day", &[50]),
                ("key app month", &[50]),
                ("key app model gpt-* requests minute", &[90, 95]),
            ]
        );
    }
}

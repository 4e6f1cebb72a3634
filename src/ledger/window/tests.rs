use super::*;
use proptest::prelude::*;

fn at(text: &str) -> i64 {
    text.parse::<Timestamp>().expect("a time").as_second()
}

fn zone(name: &str) -> Zone {
    Zone::named(name).expect("a zone")
}

/// Every second in which something may change is looked at; `id` and `ends_at` must tell the same story.
fn walk(window: Window, zone: &Zone, from: i64, to: i64, step: i64) {
    let mut last = window.id(zone, from);
    let mut now = from;
    while now < to {
        let id = window.id(zone, now);
        assert!(
            id >= last,
            "{} {zone} at {now}: {id} after {last}",
            window.name()
        );
        let end = window.ends_at(zone, id).expect("it ends");
        assert!(
            end > now,
            "{} {zone} at {now} ended at {end}",
            window.name()
        );
        assert_eq!(
            window.id(zone, end - 1),
            id,
            "{} {zone} before {end}",
            window.name()
        );
        assert!(
            window.id(zone, end) > id,
            "{} {zone} at its end {end}",
            window.name()
        );
        last = id;
        now += step;
    }
}

#[test]
fn windows_end_where_the_time_zone_database_says() {
    for (window, name, inside, end) in [
        (
            Window::Day,
            "UTC",
            "2026-02-28T23:59:59Z",
            "2026-03-01T00:00:00Z",
        ),
        (
            Window::Month,
            "UTC",
            "2026-12-31T23:59:59Z",
            "2027-01-01T00:00:00Z",
        ),
        (
            Window::Month,
            "UTC",
            "2028-02-29T12:00:00Z",
            "2028-03-01T00:00:00Z",
        ),
        (
            Window::Week,
            "UTC",
            "2026-11-25T12:00:00Z",
            "2026-11-30T00:00:00Z",
        ),
        (
            Window::Minute,
            "Asia/Kathmandu",
            "2026-11-25T12:00:59Z",
            "2026-11-25T12:01:00Z",
        ),
        // Kathmandu is 5:45 ahead: its hours begin at a quarter past.
        (
            Window::Hour,
            "Asia/Kathmandu",
            "2026-11-25T12:00:00Z",
            "2026-11-25T12:15:00Z",
        ),
        // Summer time: a day of 23 and one of 25 hours.
        (
            Window::Day,
            "Europe/Berlin",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            Window::Day,
            "Europe/Berlin",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        ),
        (
            Window::Month,
            "America/New_York",
            "2026-11-01T04:00:00Z",
            "2026-12-01T05:00:00Z",
        ),
        // Midnight does not exist in Beirut on 2026-03-29: the day begins at one.
        (
            Window::Day,
            "Asia/Beirut",
            "2026-03-28T20:00:00Z",
            "2026-03-28T22:00:00Z",
        ),
        // Toronto 1919: the clocks went from 23:30 to 00:30.
        (
            Window::Day,
            "America/Toronto",
            "1919-03-31T04:00:00Z",
            "1919-03-31T04:30:00Z",
        ),
        // St. John's 2010: one minute past midnight the clock went back; the new day had begun and stays.
        (
            Window::Day,
            "America/St_Johns",
            "2010-11-07T02:29:59Z",
            "2010-11-07T02:30:00Z",
        ),
        (
            Window::Day,
            "America/St_Johns",
            "2010-11-07T02:31:30Z",
            "2010-11-08T03:30:00Z",
        ),
        // Samoa had no 30 December 2011.
        (
            Window::Day,
            "Pacific/Apia",
            "2011-12-30T09:59:59Z",
            "2011-12-30T10:00:00Z",
        ),
        (
            Window::Day,
            "Pacific/Kiritimati",
            "2026-11-25T10:00:00Z",
            "2026-11-26T10:00:00Z",
        ),
        (
            Window::Day,
            "Etc/GMT+12",
            "2026-11-25T11:59:59Z",
            "2026-11-25T12:00:00Z",
        ),
    ] {
        let zone = zone(name);
        let id = window.id(&zone, at(inside));
        assert_eq!(
            window.ends_at(&zone, id),
            Some(at(end)),
            "{} {name} {inside}",
            window.name()
        );
        assert!(window.id(&zone, at(end)) > id, "{name} {inside}");
    }
    assert_eq!(Window::Total.ends_at(&Zone::utc(), 0), None);
}

#[test]
fn through_every_change_of_the_clocks_windows_follow_each_other_without_gap_or_return() {
    for name in [
        "Europe/Berlin",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Asia/Beirut",
        "Pacific/Apia",
        "America/Sao_Paulo",
        "Africa/Casablanca",
        "Antarctica/Troll",
        "Asia/Kathmandu",
        "America/Toronto",
        "Africa/Cairo",
    ] {
        let zone = zone(name);
        for change in zone
            .zone
            .following(timestamp(at("2009-01-01T00:00:00Z")))
            .take(40)
        {
            let change = change.timestamp().as_second();
            for window in [
                Window::Minute,
                Window::Hour,
                Window::Day,
                Window::Week,
                Window::Month,
            ] {
                walk(window, &zone, change - 7_300, change + 7_300, 599);
                let id = window.id(&zone, change - 1);
                assert!(window.id(&zone, change) >= id);
            }
        }
    }
}

#[test]
fn an_unknown_zone_is_named_and_a_name_in_another_case_is_the_same_zone() {
    assert!(
        Zone::named("Europe/Berln")
            .expect_err("unknown")
            .contains("Berln")
    );
    assert_eq!(zone("europe/berlin"), zone("Europe/Berlin"));
}

proptest! {
    #[test]
    fn any_instant_lies_in_its_window_and_the_next_begins_at_its_end(seconds in -2_000_000_000_i64..8_000_000_000, pick in 0_usize..8, kind in 0_usize..5) {
        let names = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "America/Sao_Paulo", "Africa/Casablanca"];
        let (zone, window) = (zone(names[pick]), Window::ALL[kind]);
        let id = window.id(&zone, seconds);
        let end = window.ends_at(&zone, id).expect("it ends");
        prop_assert!(end > seconds);
        prop_assert_eq!(window.id(&zone, end - 1), id);
        prop_assert!(window.id(&zone, end) > id);
    }
}

#[test]
fn an_hour_that_the_clocks_go_through_twice_has_two_names() {
    let berlin = zone("Europe/Berlin");
    let name = |time: &str| {
        let id = Window::Hour.id(&berlin, at(time));
        let begins = Window::Hour.begins_at(&berlin, id).expect("it begins");
        berlin.name_of(Window::Hour, begins)
    };
    assert_eq!(name("2026-10-25T00:30:00Z"), "2026-10-25T02:00+02:00");
    assert_eq!(name("2026-10-25T01:30:00Z"), "2026-10-25T02:00+01:00");
    let id = Window::Day.id(&berlin, at("2026-10-25T22:59:59Z"));
    let begins = Window::Day.begins_at(&berlin, id).expect("it begins");
    assert_eq!(begins, at("2026-10-24T22:00:00Z"));
    assert_eq!(berlin.name_of(Window::Day, begins), "2026-10-25");
}

#[test]
fn a_date_is_its_first_instant_and_a_time_without_an_offset_is_local() {
    let berlin = zone("Europe/Berlin");
    for (text, instant) in [
        ("2026-11-01", "2026-10-31T23:00:00Z"),
        ("2026-07-01", "2026-06-30T22:00:00Z"),
        ("2026-11-01T12:00", "2026-11-01T11:00:00Z"),
        ("2026-11-01T12:00:00Z", "2026-11-01T12:00:00Z"),
        ("2026-11-01T12:00:00-05:00", "2026-11-01T17:00:00Z"),
    ] {
        assert_eq!(berlin.instant(text), Ok(at(instant) * 1_000), "{text}");
    }
    for text in ["", "yesterday", "2026-13-01", "1793491200"] {
        assert!(berlin.instant(text).is_err(), "{text}");
    }
}

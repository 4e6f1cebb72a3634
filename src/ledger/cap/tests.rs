use super::*;

fn dims<'a>(key: &str, model: &'a str, tags: &'a [(String, String)]) -> Dims<'a> {
    Dims {
        organisation: "acme",
        team: "red",
        key: key.to_owned().into(),
        session: "s1",
        user: "",
        user_name: "",
        provider: "openai",
        model,
        tier: "standard",
        tags,
    }
}

#[test]
fn a_cap_is_written_as_it_is_read() {
    for text in [
        "5usd/day",
        "0.25usd/hour@Europe/Berlin",
        "2000000tokens/month",
        "60requests/minute session model=gpt-* tag.project=x",
        "1usd/total provider=openai tier=reasoning at_cap=local soft_percent=50",
        "1usd/week notify_percent=50,80,100",
        "1usd/day user",
        "5usd/day user=vip-* model=gpt-*",
    ] {
        assert_eq!(Cap::parse(text).expect(text).text(), text);
    }
    for text in [
        "",
        "5",
        "5usd",
        "5eur/day",
        "5usd/decade",
        "-1usd/day",
        "1.5tokens/day",
        "5usd/day@Nowhere/City",
        "5usd/day colour=red",
        "5usd/day team=x",
        "1e9usd/day",
    ] {
        assert!(Cap::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_counter_is_known_by_its_name() {
    let odd = Scope::all()
        .with(Dim::Session, Pick::Only("a|b&c=d%e é".into()))
        .with(Dim::Model, Pick::Only("gpt-*".into()))
        .tagged("pro=ject", "x&y");
    for scope in [
        Scope::all(),
        Scope::key(7),
        Scope::all().with(Dim::Session, Pick::Each),
        odd,
    ] {
        let counter = Counter {
            scope,
            measure: Measure::Tokens,
            window: Window::Week,
            zone: Zone::named("Asia/Tokyo").expect("a zone"),
        };
        assert_eq!(
            Counter::read(&counter.to_string()),
            Some(counter.clone()),
            "{counter}"
        );
    }
    assert_eq!(
        Counter::usd(Scope::key(7), Window::Day).to_string(),
        "key=7|usd|day|UTC"
    );
    for wrong in [
        "",
        "x|usd|day|UTC",
        "|eur|day|UTC",
        "|usd|day",
        "colour=red|usd|day|UTC",
    ] {
        assert_eq!(Counter::read(wrong), None, "{wrong}");
    }
}

#[test]
fn what_a_scope_says_must_all_hold() {
    let tags = [("project".to_owned(), "x".to_owned())];
    let here = dims("7", "gpt-5", &tags);
    for (scope, holds) in [
        (Scope::all(), true),
        (Scope::key(7), true),
        (Scope::key(8), false),
        (
            Scope::all().with(Dim::Model, Pick::Only("gpt-*".into())),
            true,
        ),
        (
            Scope::all().with(Dim::Model, Pick::Only("claude-*".into())),
            false,
        ),
        (Scope::all().with(Dim::Team, Pick::Only("red".into())), true),
        (Scope::all().tagged("project", "x"), true),
        (Scope::all().tagged("project", "y"), false),
        (
            Scope::all()
                .with(Dim::Team, Pick::Only("red".into()))
                .tagged("project", "x"),
            true,
        ),
    ] {
        assert_eq!(scope.holds(&here), holds, "{scope}");
    }
    let nobody = Dims {
        team: "",
        session: "",
        user: "",
        user_name: "",
        ..here
    };
    assert!(
        !Scope::all().with(Dim::Team, Pick::Each).holds(&nobody),
        "no team is not a team"
    );
    assert!(
        Scope::all().with(Dim::Session, Pick::Each).holds(&nobody),
        "no session is the unnamed one"
    );
}

#[test]
fn each_has_a_counter_of_its_own_and_sessions_are_told_apart_within_their_key() {
    let scope = Scope::all().with(Dim::Session, Pick::Each);
    assert_eq!(
        scope.instance(&dims("7", "m", &[])).to_string(),
        "key=7&session=s1"
    );
    let (mut a, mut b) = (String::new(), String::new());
    scope.subject(&dims("7", "m", &[]), &mut a);
    scope.subject(&dims("71", "m", &[]), &mut b);
    assert_ne!(a, b);
}

#[test]
fn flyballs_own_attempts_count_for_no_key_session_or_user_and_for_all_else() {
    let (tag, value) = SHADOWING;
    let tags = [(tag.to_owned(), value.to_owned())];
    let own = Dims {
        team: "",
        session: "",
        ..dims("0", "m", &tags)
    };
    let nobody = Dims {
        tags: &[],
        ..own.clone()
    };
    // A key that somebody gives this tag is a key still.
    let key = Dims {
        key: "7".into(),
        ..own.clone()
    };
    for dim in [Dim::Key, Dim::Session, Dim::User] {
        let each = Scope::all().with(dim, Pick::Each);
        let found = [&own, &nobody, &key].map(|dims| each.holds(dims));
        assert_eq!(found, [false, true, true], "{dim:?}");
        assert!(!each.may_hold(&own), "{dim:?}");
    }
    for scope in [
        Scope::all(),
        Scope::all().tagged(tag, value),
        Scope::all().with(Dim::Model, Pick::Each),
    ] {
        assert!(scope.holds(&own), "{scope}");
    }
}

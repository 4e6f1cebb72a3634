//! Streams and requests of the dialects: nothing may panic, a stream must read alike however it is cut, and what is said
//! in another dialect must be understood there.

use flyball::dialect::{ALL, Addressee, Dialect, Event, Frame, Place, UsageRule, named, translate};

/// A stream's events are said again up to this many: enough to find a flaw, few enough to be quick.
const EVENTS_MAX: usize = 1_000;

fn events(dialect: &dyn Dialect, pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<Event> {
    let mut decoder = dialect.stream(UsageRule::Dialect);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut |event| events.push(event));
    }
    decoder.finish(&mut |event| events.push(event));
    events
}

/// All visible words.
fn words(events: &[Event]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text(text) | Event::Refusal(text) => Some(text.as_str()),
        _ => None,
    });
    texts.collect()
}

fn frame(from: &'static str) -> Frame {
    Frame {
        id: "f".into(),
        from,
        ..Frame::default()
    }
}

/// The first byte is the size of the pieces, the rest a stream of this dialect, or a whole answer.
///
/// # Panics
/// When cutting the stream changes what it says, when another dialect says something else, or says no JSON.
pub fn stream(dialect: &str, bytes: &[u8]) {
    let (Some(from), Some((size, bytes))) = (named(dialect), bytes.split_first()) else {
        return;
    };
    let size = usize::from(*size) + 1;
    let whole = events(from, &mut std::iter::once(bytes));
    let cut = events(from, &mut bytes.chunks(size));
    assert_eq!(whole, cut, "{dialect}");
    let ends = |event: &Event| matches!(event, Event::End | Event::Finish(_) | Event::Error(_));
    let said = whole.iter().position(ends).unwrap_or(whole.len());
    let said = &whole[..said.min(EVENTS_MAX)];
    let answer = from.answer(bytes, UsageRule::Dialect);
    for to in ALL {
        let mut writer = to.stream_writer(frame(from.name()));
        let mut out = Vec::new();
        for event in said {
            writer.write(event.clone(), &mut out);
        }
        writer.finish(&mut out);
        let heard = events(*to, &mut std::iter::once(out.as_slice()));
        assert_eq!(words(&heard), words(said), "{dialect} in {}", to.name());
        // What comes after the end must do no harm either.
        whole.iter().take(EVENTS_MAX).for_each(|event| {
            writer.write(event.clone(), &mut out);
        });
        let body = to.answer_body(answer.clone(), &frame(from.name()));
        assert!(
            serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok(),
            "{dialect} in {}",
            to.name()
        );
    }
}

/// A request body of this dialect.
///
/// # Panics
/// When what is written in another dialect cannot be read there.
pub fn request(dialect: &str, bytes: &[u8]) {
    let Some(from) = named(dialect) else { return };
    let place = Place {
        model: (!from.model_in_body()).then(|| "m".into()),
        ..Place::default()
    };
    let Ok(request) = from.decode_at(bytes, &place) else {
        return;
    };
    let Ok(said) = from.converse(&request) else {
        return;
    };
    let addressee = Addressee {
        model: "m",
        limit: 1,
        thinks: true,
    };
    for to in ALL {
        let Ok(written) = translate(from, &said, *to, &addressee) else {
            continue;
        };
        let place = Place {
            model: (!to.model_in_body()).then(|| "m".into()),
            ..Place::default()
        };
        if let Err(error) = to.decode_at(written.body.as_bytes(), &place) {
            panic!("{dialect} in {}: {error:?} of {}", to.name(), written.body);
        }
    }
}

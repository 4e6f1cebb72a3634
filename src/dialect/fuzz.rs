//! What the fuzz targets (`fuzz/`) and their corpus test do with any bytes: nothing here may panic, and a
//! stream must read alike however it is cut.

use super::{ALL, Addressee, Dialect, Event, Frame, Place, UsageRule};

fn split(bytes: &[u8]) -> Option<(&'static dyn Dialect, usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (second, rest) = rest.split_first()?;
    Some((
        ALL[usize::from(*first) % ALL.len()],
        usize::from(*second) + 1,
        rest,
    ))
}

fn events(dialect: &dyn Dialect, pieces: &mut dyn Iterator<Item = &[u8]>) -> Vec<Event> {
    let mut decoder = dialect.stream(UsageRule::Dialect);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.feed(piece, &mut |event| events.push(event));
    }
    decoder.finish(&mut |event| events.push(event));
    events
}

/// The first byte names the dialect, the second the size of the pieces, the rest is the stream.
///
/// # Panics
/// When cutting the stream changes what it says: the defect that is looked for.
pub fn stream(bytes: &[u8]) {
    let Some((dialect, size, bytes)) = split(bytes) else {
        return;
    };
    let whole = events(dialect, &mut std::iter::once(bytes));
    let cut = events(dialect, &mut bytes.chunks(size));
    assert_eq!(whole, cut, "{}", dialect.name());
    drop(dialect.answer(bytes, UsageRule::Dialect));
    for to in ALL {
        let mut writer = to.stream_writer(Frame::default());
        let mut out = Vec::new();
        for event in whole.iter().take(1_000) {
            writer.write(event.clone(), &mut out);
        }
        writer.finish(&mut out);
    }
}

/// The first byte names the dialect, the rest (but the second byte) is a request body.
pub fn request(bytes: &[u8]) {
    let Some((dialect, _, bytes)) = split(bytes) else {
        return;
    };
    let place = Place {
        model: Some("m".into()),
        ..Place::default()
    };
    let Ok(request) = dialect.decode_at(bytes, &place) else {
        return;
    };
    let Ok(said) = dialect.converse(&request) else {
        return;
    };
    for to in ALL {
        drop(to.write(
            &said,
            &Addressee {
                model: "m",
                limit: 1,
                thinks: true,
            },
        ));
    }
}

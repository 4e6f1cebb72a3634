use super::*;

fn medium(kind: MediaKind, data: Option<&str>) -> Medium<'_> {
    Medium {
        kind,
        at: "here".into(),
        data,
        stored: false,
    }
}

#[test]
fn every_kind_in_the_table_is_a_provider_and_every_prefix_is_found_by_its_own_row() {
    for (name, kind) in &table().kinds {
        assert!(
            crate::provider::ALL.iter().any(|k| k.name == name),
            "{name}"
        );
        for row in &kind.models {
            for prefix in &row.prefix {
                let found = maxima(name, &prefix.to_uppercase());
                assert_eq!(found.image, row.image_tokens_max, "{name} {prefix}");
                assert_eq!(
                    found.audio_per_second, row.audio_tokens_per_second,
                    "{prefix}"
                );
            }
        }
    }
    assert_eq!(maxima("openai-compatible", "gpt-4o"), Maxima::default());
    for (kind, model, most) in [
        ("openai", "gpt-4o-mini-2024-07-18", Some(48_169)),
        ("openai", "gpt-4o-2024-08-06", Some(1_445)),
        ("openai", "gpt-4.1-nano", Some(3_779)),
        ("openai", "gpt-5.4-mini", Some(16_200)),
        ("openai", "gpt-5-nano", Some(3_779)),
        ("openai", "gpt-9", None),
        ("anthropic", "claude-opus-5-5", Some(4_784)),
        ("gemini", "gemini-2.5-flash", Some(6_450)),
        ("groq", "llama", None),
    ] {
        assert_eq!(maxima(kind, model).image, most, "{model}");
    }
}

#[test]
fn bytes_are_a_picture_by_their_beginning_whatever_is_said_of_them() {
    let png = STANDARD.encode(b"\x89PNG\r\n\x1a\n0123456789");
    let jpeg = STANDARD.encode(b"\xff\xd8\xff\xe0 0123456789");
    let webp = STANDARD.encode(b"RIFF0000WEBPVP8 ");
    let heic = STANDARD.encode(b"0000ftypheic0000");
    for (json, is) in [
        (format!("\"{png}\""), true),
        (format!("\"data:image/jpeg;base64,{jpeg}\""), true),
        (
            format!("\"data:image\\/jpeg;base64,{}\"", jpeg.replace('/', "\\/")),
            true,
        ),
        (format!("\"{webp}\""), true),
        (format!("\"{heic}\""), true),
        ("\"R0lGODlhAQAB\"".to_owned(), true),
        ("\"JVBERi0xLjQK\"".to_owned(), false),
        (
            format!("\"{}\"", STANDARD.encode(b"RIFF0000WAVEfmt ")),
            false,
        ),
        (
            format!("\"{}\"", STANDARD.encode(b"0000ftypisom0000")),
            false,
        ),
        ("\"\"".to_owned(), false),
        ("\"data:image/png\"".to_owned(), false),
        ("\"%%%%\"".to_owned(), false),
    ] {
        assert_eq!(is_picture(&json), is, "{json}");
    }
}

#[test]
fn sound_is_as_long_as_its_bytes_allow_at_the_lowest_rate_of_its_format() {
    let wav = |format: u16, rate: u32, bits: u16, bytes: usize| {
        let mut head = b"RIFF0000WAVEfmt \x10\0\0\0".to_vec();
        head.extend(format.to_le_bytes());
        head.extend(1_u16.to_le_bytes());
        head.extend(rate.to_le_bytes());
        head.extend([0; 6]);
        head.extend(bits.to_le_bytes());
        head.resize(bytes, 0);
        STANDARD.encode(head)
    };
    let mp3 = |head: &[u8], bytes: usize| {
        let mut sound = head.to_vec();
        sound.resize(bytes, 0);
        STANDARD.encode(sound)
    };
    let tagged = |length: usize, frame: &[u8]| {
        let size = [
            0,
            0,
            u8::try_from(length >> 7).expect("small"),
            u8::try_from(length & 0x7f).expect("small"),
        ];
        let mut sound = [b"ID3\x04\0\0", &size[..]].concat();
        sound.resize(10 + length, 0);
        mp3(&[&sound, frame].concat(), 2_400)
    };
    let frame = [0xff, 0xfb, 0x90, 0x64];
    for (base64, seconds) in [
        (wav(1, 8_000, 8, 16_000), Some(3)),
        // What its head says does not make it shorter.
        (wav(1, 48_000, 16, 16_000), Some(3)),
        (wav(3, 16_000, 32, 16_000), Some(3)),
        (wav(1, 7_999, 16, 16_000), None),
        (wav(1, 8_000, 4, 16_000), None),
        (wav(2, 8_000, 8, 16_000), None),
        (mp3(&frame, 2_400), Some(3)),
        // No layer, no rate, no version.
        (mp3(&[0xff, 0xf9, 0x90], 2_400), None),
        (mp3(&[0xff, 0xfb, 0x00], 2_400), None),
        (mp3(&[0xff, 0xfb, 0xf0], 2_400), None),
        (mp3(&[0xff, 0xeb, 0x90], 2_400), None),
        (tagged(300, &frame), Some(3)),
        (tagged(301, &frame), Some(3)),
        (tagged(302, &frame), Some(3)),
        (tagged(300, b"fLaC"), None),
        (mp3(b"ID3\x04\0\0\x7f\x7f\x7f\x7f", 90), None),
        (mp3(b"OggS", 2_400), None),
        (String::new(), None),
    ] {
        let start = &base64[..base64.len().min(40)];
        assert_eq!(sound::seconds_max(&base64), seconds, "{start}");
    }
}

#[test]
fn media_add_up_and_one_without_a_maximum_takes_the_window_or_is_named() {
    let known = Maxima {
        image: Some(100),
        ..Maxima::default()
    };
    let (by_url, file) = (
        medium(MediaKind::Image, None),
        medium(MediaKind::File, Some("\"aGk=\"")),
    );
    let both = [by_url.clone(), file.clone()];
    assert_eq!(known.bound(&both, Some(5_000)), Err(&both[1]));
    let windowed = Maxima {
        whole_window: true,
        ..known
    };
    assert_eq!(windowed.bound(&both, None), Err(&both[1]));
    let bound = |maxima: Maxima| maxima.bound(&both, Some(5_000)).expect("it is bounded");
    assert_eq!(
        bound(windowed),
        Bound {
            tokens: 100,
            window: Some(5_000),
            bytes: 6
        }
    );
    let own = Maxima {
        document: Some(7),
        ..Maxima::default()
    };
    assert_eq!(
        bound(own.or(windowed)),
        Bound {
            tokens: 107,
            window: None,
            bytes: 6
        }
    );
    assert_eq!(known.bound(&[], None), Ok(Bound::default()));
}

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
fn a_wav_is_as_long_as_its_bytes_allow_and_an_mp3_as_long_as_its_frames_say() {
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
    // MPEG 1 at 128 kbit/s and 44,100 samples a second: 1,152 samples in 417 bytes.
    let frame = |head: [u8; 4], bytes: usize| [&head[..], &vec![0; bytes - 4]].concat();
    let usual = frame([0xff, 0xfb, 0x90, 0x64], 417);
    let mp3 = |pieces: &[&[u8]]| STANDARD.encode(pieces.concat());
    let tag = |flags: u8, length: usize| {
        let size = [length >> 7, length & 0x7f].map(|n| u8::try_from(n).expect("small"));
        let mut tag = [b"ID3\x04\0", &[flags, 0, 0][..], &size].concat();
        tag.resize(10 + length, 0);
        tag
    };
    let minute = usual.repeat(2_297);
    let old_tag = [b"TAG", &[0; 125][..]].concat();
    for (base64, seconds) in [
        (wav(1, 8_000, 8, 16_000), Some(3)),
        // What its head says does not make it shorter.
        (wav(1, 48_000, 16, 16_000), Some(3)),
        (wav(3, 16_000, 32, 16_000), Some(3)),
        (wav(1, 7_999, 16, 16_000), None),
        (wav(1, 8_000, 4, 16_000), None),
        (wav(2, 8_000, 8, 16_000), None),
        (mp3(&[&minute]), Some(61)),
        (mp3(&[&minute[..minute.len() - 417]]), Some(60)),
        (mp3(&[&usual, &usual[..100]]), Some(1)),
        (mp3(&[&minute, &old_tag]), Some(61)),
        // A padded frame is a byte longer; MPEG 2.5 at 8 kbit/s and 8,000 samples a second has 72 bytes for 72 ms.
        (
            mp3(&[&frame([0xff, 0xfb, 0x92, 0x64], 418), &usual]),
            Some(1),
        ),
        (
            mp3(&[&frame([0xff, 0xe3, 0x18, 0x64], 72).repeat(100)]),
            Some(8),
        ),
        // Anything but frames: behind the first, before the end, of another rate.
        (mp3(&[&usual, b"OggS", &minute]), None),
        (mp3(&[&minute, &[0; 2_400]]), None),
        (mp3(&[&minute, b"TAG"]), None),
        (mp3(&[&usual, &frame([0xff, 0xfb, 0x94, 0x64], 384)]), None),
        // No layer, no rate, no version.
        (mp3(&[&frame([0xff, 0xf9, 0x90, 0x64], 417)]), None),
        (mp3(&[&frame([0xff, 0xfb, 0x00, 0x64], 417)]), None),
        (mp3(&[&frame([0xff, 0xfb, 0xf0, 0x64], 417)]), None),
        (mp3(&[&frame([0xff, 0xfb, 0x9c, 0x64], 417)]), None),
        (mp3(&[&frame([0xff, 0xeb, 0x90, 0x64], 417)]), None),
        (mp3(&[&tag(0, 300), &minute]), Some(61)),
        (mp3(&[&tag(0x80, 301), &minute]), Some(61)),
        (mp3(&[&tag(0, 302), &minute]).replace('/', "\\/"), Some(61)),
        // Readers differ on whether a tag's footer counts.
        (mp3(&[&tag(0x10, 300), &minute]), None),
        (mp3(&[&tag(0, 300), b"fLaC"]), None),
        (mp3(&[b"ID3\x04\0\0\x7f\x7f\x7f\x7f", &minute]), None),
        (mp3(&[b"ID3\x04\0\0\0\0\x80\x01", &minute]), None),
        (mp3(&[&usual, &usual[..100]]).replace('=', ""), None),
        (mp3(&[b"OggS", &minute]), None),
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
        MediaBound {
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
        MediaBound {
            tokens: 107,
            window: None,
            bytes: 6
        }
    );
    assert_eq!(known.bound(&[], None), Ok(MediaBound::default()));
}

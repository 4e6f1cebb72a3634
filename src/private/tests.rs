use crate::private::{Class, Classes, Detector, Settings};

fn detector() -> Detector {
    with(|_| ())
}

fn with(change: impl FnOnce(&mut Settings)) -> Detector {
    let mut settings = Settings {
        detect: Class::ALL.into_iter().collect(),
        words: vec!["Projekt Übermut".into(), "falcon".into(), "机密".into()],
        patterns: vec![r"KD-\d{6}".into()],
        at_least: 1,
        many: 3,
        examples: true,
    };
    change(&mut settings);
    Detector::new(settings).expect("good settings")
}

fn found(text: &str) -> String {
    detector().find(text.as_bytes(), None).classes.to_string()
}

#[test]
fn every_class_is_found_by_its_own_proof_and_not_without_it() {
    for (text, classes) in [
        ("", ""),
        ("card 4539578763621486", "cards"),
        ("card 4539578763621487", ""),
        ("4539 5787 6362 1486", "cards"),
        ("4539-5787-6362-1486.", "cards"),
        ("4539.5787.6362.1486", "cards"),
        ("4539  5787 - 6362 1486", "cards"),
        ("4 5 3 9 5 7 8 7 6 3 6 2 1 4 8 6", "cards"),
        ("٤٥٣٩٥٧٨٧٦٣٦٢١٤٨٦", "cards"),
        ("４５３９　５７８７　６３６２　１４８６", "cards"),
        ("4539\u{2011}5787\u{2009}6362\u{a0}1486", "cards"),
        ("45\u{200b}39578\u{ad}763621486", "cards"),
        ("卡号4539578763621486。", "cards"),
        ("0.4539578763621486", ""),
        ("id_x4539578763621486", ""),
        ("3782 822463 10005", "cards"),
        ("IBAN DE89 3704 0044 0532 0130 00", "ibans"),
        ("DE89370400440532013000", "ibans"),
        ("DE88370400440532013000", ""),
        ("de89370400440532013000", "ibans"),
        ("GB82 WEST 1234 5698 7654 32", "ibans"),
        ("my SSN is 219-09-9999", "ids"),
        ("219-09-9999", ""),
        ("{\"userSsn\": \"219099999\"}", "ids"),
        ("ssn 000-00-0000", "ids"),
        ("Steuer-ID 86095742719", "ids"),
        ("NIR 2 55 08 14 168 025 38", "ids"),
        ("DNI 12345678Z, NIE X1234567L", "ids"),
        ("12345678-Z", "ids"),
        ("12345678A", ""),
        ("RSSMRA80A01H501U", "ids"),
        ("BSN: 111222333", "ids"),
        ("PESEL 44051401359", "ids"),
        ("85.07.30-033.28", "ids"),
        ("811218-9876", "ids"),
        ("131052-308T", "ids"),
        ("111.444.777-35", "ids"),
        ("CPF 11144477735", "ids"),
        ("CNPJ 11.222.333/0001-81", "ids"),
        ("身份证号11010519491231002X", "ids"),
        ("Aadhaar 2341 2341 2346", "ids"),
        ("756.9217.0769.85", "ids"),
        ("S1234567D", "ids"),
        ("A123456(3)", "ids"),
        ("nhs 943 476 5919", "ids"),
        ("12.345.678-5", "ids"),
        ("AKIAIOSFODNN7EXAMPLE", "secrets"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "secrets"),
        ("ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", ""),
        ("sk-your-api-key-here", ""),
        ("postgres://app:s3cr3tPw@db:5432/x", "secrets"),
        ("postgres://app:$PW@db/x", ""),
        ("http://example.com:80/@x", ""),
        (
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
            "secrets",
        ),
        (
            "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "secrets",
        ),
        ("aws_secret_access_key = ****", ""),
        ("4539_5787_6362_1486", "cards"),
        ("PL20 7481 5531 8258 0588 2347 0315", "ibans"),
        ("a@b.de", ""),
        ("a@b.de, b@b.de; c@b.de", "emails"),
        (
            "+49 151 12345678, +44 20 7946 0958, (212) 555-7143",
            "phones",
        ),
        ("PROJEKT ÜBERMUT", "own"),
        ("falcons", ""),
        ("Falcon!", "own"),
        ("这是机密文件", "own"),
        ("KD-123456", "own"),
    ] {
        assert_eq!(found(text), classes, "{text}");
    }
}

#[test]
fn pem_blocks_count_and_words_about_them_do_not() {
    let block = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n",
        "MIIEowIBAAKCAQEA75f".repeat(6)
    );
    assert_eq!(found(&block), "secrets");
    let escaped = serde_json::json!({"key": block}).to_string();
    assert_eq!(found(&escaped), "secrets");
    assert_eq!(
        found("The file begins with -----BEGIN RSA PRIVATE KEY-----."),
        ""
    );
}

#[test]
fn whatever_a_text_is_wrapped_in_is_undone() {
    let card = "4539578763621486";
    let split = |texts: &[&str]| {
        let parts: Vec<_> = texts
            .iter()
            .map(|t| serde_json::json!({"type": "text", "text": t}))
            .collect();
        serde_json::json!({"messages": [{"role": "user", "content": parts}]}).to_string()
    };
    let arguments = serde_json::json!({"card": card})
        .to_string()
        .replace("45395", "\\u0034\\u0035395");
    let called = serde_json::json!({"function": {"arguments": arguments}}).to_string();
    let document = serde_json::json!({"source": {"type": "base64", "media_type": "text/plain", "data": packed(&format!("{} {card}", "The customer's card. ".repeat(9)))}});
    for body in [
        format!("{{\"content\":\"{}\"}}", card.replace('4', "\\u0034")),
        called.clone(),
        serde_json::json!({"again": called}).to_string(),
        split(&["pay with 4539 5787", " 6362 1486 please"]),
        split(&[
            "4", "5", "3", "9", "5", "7", "8", "7", "6", "3", "6", "2", "1", "4", "8", "6",
        ]),
        serde_json::json!({"input": ["45395787", "63621486"]}).to_string(),
        serde_json::json!({"input": {"card": 4_539_578_763_621_486_u64}}).to_string(),
        serde_json::json!({card: 1}).to_string(),
        document.to_string(),
        format!("{{\"text\":\"a\\n{card}\\n\"}}\n{{\"text\":\"b\"}}"),
        format!("not json \\\" {card}"),
        format!("{{\"broken\": \"{card}"),
        card.bytes().flat_map(|b| [char::from(b), '\0']).collect(),
    ] {
        assert_eq!(found(&body), "cards", "{body}");
    }
    let apart = split(&["pay with 4539 5787", "no", "6362 1486"]);
    assert_eq!(found(&apart), "");
}

fn packed(text: &str) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[test]
fn what_cannot_be_read_counts_where_text_was_to_be_expected() {
    let find = |bytes: &[u8], kind: Option<&str>| detector().find(bytes, kind).classes.to_string();
    let upload = |content: &[u8]| {
        let head =
            b"--XyZ\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        [head, content, b"\r\n--XyZ--\r\n"].concat()
    };
    let form = Some("multipart/form-data; boundary=XyZ");
    let noise: Vec<u8> = (0..4_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect();
    let wide: Vec<u8> = [0xFF, 0xFE]
        .into_iter()
        .chain(
            "card 4539578763621486"
                .encode_utf16()
                .flat_map(u16::to_le_bytes),
        )
        .collect();
    for (content, classes) in [
        (&b"4539578763621486"[..], "cards"),
        (
            b"{\"custom_id\":\"1\",\"body\":{\"input\":\"\\u00344539578763621486\"}}",
            "",
        ),
        (
            b"{\"custom_id\":\"1\",\"body\":{\"input\":\"\\u0034539578763621486\"}}",
            "cards",
        ),
        (b"\xDCbermut 4539578763621486", "cards"),
        (&wide, "cards"),
        (b"%PDF-1.7 \x00\x01", "unread"),
        (b"PK\x03\x04rest", "unread"),
        (&noise, "unread"),
        (b"\x89PNG\r\n\x1a\n rest", ""),
        (b"ID3 is what his card 4539578763621486 says", "cards"),
        (b"%PDF-1.7 card 4539578763621486", "cards, unread"),
    ] {
        assert_eq!(find(&upload(content), form), classes);
    }
    let pdf = serde_json::json!({"file_data": format!("data:application/pdf;base64,{}", packed(&format!("%PDF-1.7 {}", "x".repeat(200))))});
    assert_eq!(find(pdf.to_string().as_bytes(), None), "unread");
    let png = serde_json::json!({"url": format!("data:image/png;base64,{}", packed(&format!("\u{89}PNG{}", "x".repeat(9_000))))});
    assert_eq!(find(png.to_string().as_bytes(), None), "");
    let text = format!(
        "GIF89 is how it begins; {} card 4539578763621486",
        "and more. ".repeat(20)
    );
    let text = serde_json::json!({"data": packed(&text)});
    assert_eq!(find(text.to_string().as_bytes(), None), "cards");
}

#[test]
fn values_of_documentation_count_unless_the_operator_says_otherwise() {
    let texts = [
        "4111 1111 1111 1111",
        "4242424242424242",
        "DE89370400440532013000",
        "ssn 000-00-0000",
        "ssn 078-05-1120",
        "AKIAIOSFODNN7EXAMPLE",
        "a@example.com b@example.org c@example.net",
    ];
    let without = with(|settings| settings.examples = false);
    for text in texts {
        assert!(!found(text).is_empty(), "{text}");
        assert!(
            without.find(text.as_bytes(), None).classes.is_empty(),
            "{text}"
        );
    }
    assert_eq!(
        without.find(b"4716059935172683", None).classes.to_string(),
        found("4716059935172683")
    );
}

#[test]
fn the_same_value_twice_is_one() {
    let two = with(|settings| settings.at_least = 2);
    let find = |text: &str| two.find(text.as_bytes(), None).classes;
    assert!(find("4539578763621486 and 4539 5787 6362 1486").is_empty());
    assert!(find("4539578763621486 and 4111111111111111").has(Class::Cards));
    assert!(find("falcon falcon FALCON").is_empty());
    assert!(find("falcon KD-123456").has(Class::Own));
}

#[test]
fn only_what_is_wanted_is_looked_for() {
    let ids = with(|settings| settings.detect = Classes::default().with(Class::Ids));
    let text = "4539578763621486 12345678Z falcon %PDF- AKIAIOSFODNN7EXAMPLE";
    assert_eq!(ids.find(text.as_bytes(), None).classes.to_string(), "ids");
    let pdf = b"%PDF-1.7";
    assert!(ids.find(pdf, None).classes.is_empty());
}

/// No text is more work than another by more than a factor, and twice the text is twice the work.
#[test]
fn the_work_is_linear_whatever_the_text_is() {
    let detector = with(|settings| {
        settings.at_least = 1_000;
        settings.many = 1_000;
    });
    let pieces = [
        "9",
        "4",
        "-",
        "4 ",
        "41 ",
        "411 ",
        "4111 ",
        "4111-",
        "4.",
        "sk-",
        " sk-",
        "sk-ant-",
        "eyJ",
        "eyJ.",
        " eyJ.eyJ.",
        "://",
        "a://b",
        "a://b:c@",
        "@",
        "a@",
        "a@b.",
        "a@b.de ",
        "DE89 ",
        "DE89",
        "DE89370400440532013000 ",
        "\\",
        "\\u0034",
        "\\\\u0034",
        "\"",
        "[",
        "{",
        "[\"4\",",
        "{\"text\":\"4\"},",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "AKIA",
        "+49 ",
        "(212) ",
        "111222333 ",
        "ssn ",
        "bsn 111222333 ",
        "falcon",
        "falcon ",
        "KD-1",
        "٤",
        "机",
        "\0",
        "a1",
        "1a ",
        "12345678Z ",
        "data:;base64,",
        "AAAA",
        "AccountKey=",
        "aws_secret_access_key=",
        "4_",
        "DE89.",
    ];
    for piece in pieces {
        let work = |bytes: usize| {
            let text = format!("[{}", piece.repeat(bytes / piece.len()));
            detector.find(text.as_bytes(), None).work
        };
        let (once, twice) = (work(200_000), work(400_000));
        assert!(once < 200_000 * 80, "{piece:?}: {once}");
        assert!(twice <= once * 21 / 10, "{piece:?}: {once}, {twice}");
    }
}

//! Answers about Anthropic's batches.

use bytes::Bytes;

/// Anthropic's SDKs fetch a batch's results from the address that its answer names, with the key that they have: flyball's. So it
/// must be an address here; one without a host is read by them as such.
pub(super) fn fetched_here(bytes: Bytes) -> Bytes {
    const FIELD: &str = "\"results_url\"";
    const FOLDER: &str = "/v1/messages/batches/";
    let Ok(text) = std::str::from_utf8(&bytes) else {
        return bytes;
    };
    let mut out = String::new();
    let mut done = 0;
    for (at, _) in text.match_indices(FIELD) {
        let value = &text[at + FIELD.len()..];
        let Some(open) = value.find('"') else { break };
        // Only a colon and blanks may part a field from its text: `null` has none.
        if !value[..open].chars().all(|c| c == ':' || c.is_whitespace()) {
            continue;
        }
        let start = at + FIELD.len() + open + 1;
        let end = text[start..].find('"').map_or(text.len(), |n| start + n);
        if let Some(host) = text[start..end].find(FOLDER) {
            out.push_str(&text[done..start]);
            done = start + host;
        }
    }
    if done == 0 {
        return bytes;
    }
    out.push_str(&text[done..]);
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_results_become_addresses_here_and_nothing_else_is_touched() {
        let text = "{\"results_url\":null,\"a\":\"results_url\",\"l\":[{\"results_url\" :\n \"https://h/v1/messages/batches/b/results\"},{\"results_url\":\"https://h/other\"}],\"ü\":1}";
        let here = fetched_here(Bytes::from(text));
        assert_eq!(here, text.replace("https://h/v1", "/v1"));
        for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
            let cut = &text[..at];
            let here = fetched_here(Bytes::from(cut.to_owned()));
            assert_eq!(
                here,
                cut.replace("https://h/v1/messages/batches/", "/v1/messages/batches/")
            );
        }
        let bytes = Bytes::from_static(b"\xff\"results_url\":\"https://h/v1/messages/batches/b\"");
        assert_eq!(fetched_here(bytes.clone()), bytes);
    }
}

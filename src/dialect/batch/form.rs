//! A form with a file in it, as vendors take the lines of a batch.

/// What stands before the file of a batch that is marked so, what after it, and the type of the whole.
pub fn file_form(tag: &str) -> (String, String, String) {
    let bound = format!("flyball-{tag}");
    let before = format!(
        "--{bound}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--{bound}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{tag}.jsonl\"\r\ncontent-type: application/jsonl\r\n\r\n"
    );
    let after = format!("\r\n--{bound}--\r\n");
    (
        before,
        after,
        format!("multipart/form-data; boundary={bound}"),
    )
}

/// Writes a JSON text on one line: line breaks stand between its values, where they mean nothing, and within texts there are none.
pub fn on_one_line(json: &str, into: &mut Vec<u8>) {
    let spaced = |b: u8| if b == b'\n' || b == b'\r' { b' ' } else { b };
    into.extend(json.bytes().map(spaced));
}

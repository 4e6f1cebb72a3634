//! `end_user_header`, `require_user` and `end_user_names`: how the end users of apps are told apart.

use crate::caller::{EndUsers, UserNames};
use crate::reader::Table;
use http::header::HeaderName;

/// Headers that say something else.
const TAKEN: [&str; 12] = [
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "host",
    "content-type",
    "content-length",
    "accept",
    "connection",
    "user-agent",
    "origin",
];

pub(super) fn end_users(top: &Table<'_>) -> EndUsers {
    let names = [("hashed", UserNames::Hashed), ("plain", UserNames::Plain)];
    EndUsers {
        header: header(top),
        required: top.flag("require_user").unwrap_or(false),
        names: top.choice("end_user_names", "form of end users' names", &names),
    }
}

fn header(top: &Table<'_>) -> Option<HeaderName> {
    let written = top.text("end_user_header")?;
    let name = written.to_ascii_lowercase().parse::<HeaderName>().ok();
    let taken = |name: &HeaderName| {
        TAKEN.contains(&name.as_str()) || name.as_str().starts_with("x-flyball-")
    };
    let why = match &name {
        None => "is not the name of a header",
        Some(name) if taken(name) => "says something else already",
        Some(_) => return name,
    };
    let text = format_args!("end_user_header: \"{written}\" {why}");
    let help = "name one that your apps send for this alone, e.g. \"x-user-id\"".to_owned();
    top.complain("end_user_header", text, Some(help));
    None
}

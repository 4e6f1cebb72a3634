//! What was learned from outcomes, and what of it is in force.

use super::Admin;
use super::answer::{json_answer, say};
use super::outcomes::{in_time, no_books};
use crate::learn::overnight::Arms;
use crate::learn::shelf;
use crate::ledger::now_ms;
use crate::ledger::store::Store;
use crate::relay::AnswerBody;
use http::{Response, StatusCode};
use serde_json::{Value, json};

/// Everything that is kept.
pub(super) async fn list(admin: &Admin) -> Response<AnswerBody> {
    let read = |books: &mut dyn Store| {
        let abilities = (
            shelf::abilities_in_force(books)?,
            shelf::abilities_made(books)?,
        );
        Ok((shelf::in_force(books)?, shelf::list(books)?, abilities))
    };
    match in_time(admin.state.ledger.learning(read)).await {
        Ok((in_force, made, (abilities, last))) => {
            let made: Vec<Value> = made.iter().map(shelf::told).collect();
            let [abilities, last] =
                [abilities, last].map(|made| made.as_ref().map(shelf::abilities_told));
            json_answer(&json!({
                "in_force": in_force.id, "made": made,
                "abilities": {"in_force": abilities, "last": last},
            }))
        }
        Err(why) => no_books(&why),
    }
}

/// Learns now. It is in force within seconds, where the guard lets it.
pub(super) async fn run(admin: &Admin) -> Response<AnswerBody> {
    let policy = admin.state.policy.load();
    let arms = policy
        .learning
        .as_ref()
        .and_then(|learning| learning.arms.clone());
    let arms = arms.map(|(weak, strong)| Arms { weak, strong });
    let known = policy.fleet.abilities();
    let work =
        move |books: &mut dyn Store| shelf::learn_all(books, arms.as_ref(), &known, now_ms());
    match admin.state.ledger.learning(work).await {
        Ok(made) => match shelf::all_told(&made) {
            Ok(told) => json_answer(&told),
            Err(why) => say(StatusCode::CONFLICT, &why),
        },
        Err(error) => no_books(&error.detail),
    }
}

/// Goes back to what was in force before.
pub(super) async fn undo(admin: &Admin) -> Response<AnswerBody> {
    match in_time(admin.state.ledger.learning(shelf::undo)).await {
        Ok(Ok(in_force)) => json_answer(&json!({"in_force": in_force.id})),
        Ok(Err(why)) => say(StatusCode::CONFLICT, &why),
        Err(why) => no_books(&why),
    }
}

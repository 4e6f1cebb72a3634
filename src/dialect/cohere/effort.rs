//! Effort at Cohere: the `thinking` object, a switch and a budget.

use crate::arm::Effort;
use crate::effort::{
    Accepts, BUDGET_MIN, Family, Pen, Target, ToldModel, Words, inner, of_budget,
    reasoning_allowance,
};
use crate::json::{self, Edit, Object};

/// Cohere's words for effort.
pub(super) struct CohereWords;

impl Words for CohereWords {
    fn asked(&self, fields: &Object<'_>) -> Option<Effort> {
        let thinking = inner(fields, "thinking")?;
        match json::text(thinking.some("type")?).as_deref() {
            Some("disabled") => Some(Effort::None),
            Some("enabled") => {
                let budget = thinking
                    .some("token_budget")
                    .and_then(|raw| raw.parse().ok());
                Some(budget.map_or(Effort::High, of_budget))
            }
            _ => None,
        }
    }

    fn write(
        &self,
        pen: &mut Pen<'_>,
        to: &ToldModel<'_>,
        wanted: Effort,
    ) -> (Effort, Option<u64>) {
        if to.accepts.known && to.accepts.efforts.is_empty() {
            pen.reject("thinking");
            return (Effort::None, None);
        }
        match budget(wanted, to.target) {
            Some(tokens) => {
                pen.set(&["thinking", "token_budget"], tokens.to_string());
                pen.set_text(&["thinking", "type"], "enabled");
                (wanted, Some(tokens))
            }
            None => {
                off(pen, to.accepts);
                (Effort::None, None)
            }
        }
    }

    fn limit_field(&self, _: Family, _: &Accepts, _: &Object<'_>) -> &'static str {
        "max_tokens"
    }
}

/// The effort's allowance, but never more than three quarters of the limit, so that an answer still fits; nothing where there
/// is no room to think.
fn budget(effort: Effort, target: &Target<'_>) -> Option<u64> {
    let asked = target.asked.some("max_tokens");
    let asked: Option<u64> = asked.and_then(|raw| raw.parse().ok());
    let limits = [target.limit_tokens, asked];
    let limit = limits.into_iter().flatten().min();
    let room = limit.map_or(u64::MAX, |limit| limit - limit.div_ceil(4));
    let budget = reasoning_allowance(effort).min(room);
    (effort != Effort::None && budget >= BUDGET_MIN.min(reasoning_allowance(effort)))
        .then_some(budget)
}

/// A model that is not known to think by itself is told nothing: not every one has the field.
fn off(pen: &mut Pen<'_>, accepts: &Accepts) {
    let said = inner(pen.fields, "thinking");
    if said.is_none() && !accepts.on_by_default {
        return;
    }
    pen.set_text(&["thinking", "type"], "disabled");
    if said.is_some_and(|thinking| thinking.get("token_budget").is_some()) {
        pen.edits.push(Edit::remove(&["thinking", "token_budget"]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::effort::{Written, write_as};

    fn written(
        body: &str,
        accepts: &Accepts,
        wanted: Effort,
        limit: Option<u64>,
    ) -> (String, Written) {
        let asked = Object::read_str(body).expect("an object");
        let target = Target {
            family: Family::Compatible,
            model: "command-a-reasoning-08-2025",
            words: &CohereWords,
            asked: &asked,
            limit_tokens: limit,
            version: None,
        };
        let written = write_as(&target, accepts, wanted);
        let text = asked
            .edited(&written.edits)
            .unwrap_or_else(|| body.to_owned());
        (text, written)
    }

    #[test]
    fn an_effort_is_a_switch_and_a_budget_that_leaves_room_for_an_answer() {
        let asked = |body: &str| CohereWords.asked(&Object::read_str(body).expect("an object"));
        for (body, effort) in [
            ("{}", None),
            (r#"{"thinking":{"type":"disabled"}}"#, Some(Effort::None)),
            (r#"{"thinking":{"type":"enabled"}}"#, Some(Effort::High)),
            (
                r#"{"thinking":{"type":"enabled","token_budget":2000}}"#,
                Some(Effort::Low),
            ),
            (r#"{"thinking":{"type":"new"}}"#, None),
            (r#"{"thinking":7}"#, None),
        ] {
            assert_eq!(asked(body), effort, "{body}");
        }
        let unknown = Accepts::default();
        for (body, wanted, limit, expected, really) in [
            (
                "{}",
                Effort::Low,
                None,
                r#"{"thinking":{"type":"enabled","token_budget":2048}}"#,
                Effort::Low,
            ),
            (
                r#"{"max_tokens":2000}"#,
                Effort::High,
                None,
                r#"{"thinking":{"type":"enabled","token_budget":1500},"max_tokens":2000}"#,
                Effort::High,
            ),
            ("{}", Effort::High, Some(1_000), "{}", Effort::None),
            ("{}", Effort::None, None, "{}", Effort::None),
            (
                r#"{"thinking":{"type":"enabled","token_budget":9}}"#,
                Effort::None,
                None,
                r#"{"thinking":{"type":"disabled"}}"#,
                Effort::None,
            ),
        ] {
            let (text, written) = written(body, &unknown, wanted, limit);
            assert_eq!(
                (text.as_str(), written.effort),
                (expected, really),
                "{body}"
            );
        }
        let thinks_not = Accepts::listed(Vec::new());
        let (text, written) = written(r#"{"thinking":{}}"#, &thinks_not, Effort::None, None);
        assert_eq!(
            (text.as_str(), &written.removed[..]),
            ("{}", &["thinking".to_owned()][..])
        );
    }
}

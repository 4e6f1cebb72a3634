//! Where overlays that were learned from the books stand: the last ten with their figures, and which of them is in force. In the books
//! themselves, so that replicas share them and a restart keeps them.

use super::abilities::{self, LearnedAbilities};
use super::overnight::{self, Arms, Figures, Night};
use crate::classify::Features;
use crate::classify::kept;
use crate::classify::model::embedded;
use crate::classify::overlay::Overlay;
use crate::error::Error;
use crate::fleet::ability::Ability;
use crate::ledger::judged::JudgedAnswer;
use crate::ledger::store::Store;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Under this name stand the abilities that are in force, if they were learned by the overlay that is.
const ABILITIES: &str = "abilities/in_force";
/// Under this name, those that were learned last.
const LAST_ABILITIES: &str = "abilities/last";
/// So many are kept.
const KEPT: u64 = 10;
/// Under this name stands which one is in force.
const IN_FORCE: &str = "overlay/in_force";
/// Under names that begin so, what was made.
const MADE: &str = "overlay/made/";
/// Under this name, the night that was learned in last.
const NIGHT: &str = "overlay/night";

/// An overlay that was made, and what was found of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Made {
    /// Its number.
    pub id: u64,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// The arms.
    pub arms: Arms,
    /// It was better than what was in force.
    pub used: bool,
    /// Why, in a sentence.
    pub because: String,
    /// What was found.
    pub figures: Figures,
    /// What was learned.
    pub overlay: Overlay,
}

/// Abilities that were learned, and by which overlay requests were graded then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MadeAbilities {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// The number of the overlay; nothing where the grader stood alone.
    pub under: Option<u64>,
    /// What was learned.
    pub learned: LearnedAbilities,
}

/// Which overlay is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its number; nothing where the grader stands alone.
    pub id: Option<u64>,
    /// Those before it that can be gone back to, the latest last; 0 is the grader alone.
    before: Vec<u64>,
    /// How many were made.
    made: u64,
}

impl InForce {
    fn uses(&mut self, id: u64) {
        self.before.push(self.id.unwrap_or_default());
        self.id = Some(id);
    }

    /// Only what is still kept can be gone back to.
    fn tidy(&mut self) {
        let oldest = (self.made + 1).saturating_sub(KEPT);
        self.before.retain(|id| *id == 0 || *id >= oldest);
        let more = self
            .before
            .len()
            .saturating_sub(usize::try_from(KEPT).unwrap_or(0));
        self.before.drain(..more);
    }
}

/// The number of what is in force.
///
/// # Errors
/// The store fails.
pub fn in_force(books: &mut dyn Store) -> Result<InForce, Error> {
    Ok(read_in_force(books.learned_as(IN_FORCE)?.as_deref()))
}

fn read_in_force(text: Option<&str>) -> InForce {
    let read = text.and_then(|text| serde_json::from_str(text).ok());
    read.unwrap_or_default()
}

/// The overlay of this number, if it is kept and this flyball can read it.
///
/// # Errors
/// The store fails.
pub fn overlay(books: &mut dyn Store, id: u64) -> Result<Option<Overlay>, Error> {
    let text = books.learned_as(&name_of(id))?;
    let made = text.and_then(|text| serde_json::from_str::<Made>(&text).ok());
    let made = made.filter(|made| made.id == id);
    Ok(made.and_then(|made| made.overlay.placed().ok()))
}

fn name_of(id: u64) -> String {
    format!("{MADE}{}", id % KEPT)
}

/// All that are kept, the oldest first.
///
/// # Errors
/// The store fails.
pub fn list(books: &mut dyn Store) -> Result<Vec<Made>, Error> {
    let mut all = Vec::new();
    for slot in 0..KEPT {
        let text = books.learned_as(&name_of(slot))?;
        all.extend(text.and_then(|text| serde_json::from_str::<Made>(&text).ok()));
    }
    all.sort_by_key(|made| made.id);
    Ok(all)
}

/// Learns from the books as they are now, and puts what comes of it on the shelf; it is in force where the guard lets it.
///
/// # Errors
/// The store fails; in what is given, a sentence that says why nothing could be learned.
pub fn learn(
    books: &mut dyn Store,
    named: Option<&Arms>,
    now_ms: i64,
) -> Result<Result<Made, String>, Error> {
    let (outcomes, asks) = read(books)?;
    let text = books.learned_as(IN_FORCE)?;
    let mut now = read_in_force(text.as_deref());
    let in_force = match now.id {
        Some(id) => overlay(books, id)?,
        None => None,
    };
    let night = overnight::learn(embedded(), &outcomes, &asks, named, in_force.as_ref());
    let Night {
        arms,
        overlay,
        used,
        because,
        figures,
    } = match night {
        Ok(night) => night,
        Err(why) => return Ok(Err(why)),
    };
    // What is in force is never written over.
    now.made += 1;
    if now.id.is_some_and(|id| id % KEPT == now.made % KEPT) {
        now.made += 1;
    }
    let made = Made {
        id: now.made,
        at_ms: now_ms,
        arms,
        used,
        because,
        figures,
        overlay,
    };
    if used {
        now.uses(made.id);
    }
    now.tidy();
    let entries = [
        (IN_FORCE.to_owned(), text_of(&now)),
        (name_of(made.id), text_of(&made)),
    ];
    Ok(match books.learn(&entries, text.as_deref())? {
        true => Ok(made),
        false => Err("somebody else has learned at the same time; see `flyball learn list`".into()),
    })
}

/// All outcomes, and what was measured of requests.
fn read(books: &mut dyn Store) -> Result<(Vec<JudgedAnswer>, HashMap<String, Features>), Error> {
    let mut outcomes: Vec<JudgedAnswer> = Vec::new();
    books.outcomes(&mut |outcome| outcomes.push(outcome))?;
    let mut asks = HashMap::new();
    books.asks(&mut |ask| {
        if let Some(features) = kept::unpack(&ask.features) {
            asks.insert(ask.request, features);
        }
    })?;
    Ok((outcomes, asks))
}

/// Learns how able models are, from the books as they are now and by the overlay that is in force; it is in force where the guard lets it.
///
/// # Errors
/// The store fails; in what is given, a sentence that says why nothing could be learned.
pub fn learn_abilities(
    books: &mut dyn Store,
    known: &BTreeMap<String, Ability>,
    now_ms: i64,
) -> Result<Result<MadeAbilities, String>, Error> {
    let (outcomes, asks) = read(books)?;
    let under = in_force(books)?.id;
    let overlay = match under {
        Some(id) => overlay(books, id)?,
        None => None,
    };
    let text = books.learned_as(ABILITIES)?;
    let now = read_abilities(text.as_deref(), under);
    let night = abilities::learn(
        embedded(),
        &outcomes,
        &asks,
        known,
        overlay.as_ref(),
        now.as_ref().map(|made| &made.learned.corrections),
    );
    let made = match night {
        Ok(learned) => MadeAbilities {
            at_ms: now_ms,
            under,
            learned,
        },
        Err(why) => return Ok(Err(why)),
    };
    let mut entries = vec![(LAST_ABILITIES.to_owned(), text_of(&made))];
    if made.learned.used {
        entries.insert(0, (ABILITIES.to_owned(), text_of(&made)));
    }
    let expected = match made.learned.used {
        true => text,
        false => books.learned_as(LAST_ABILITIES)?,
    };
    Ok(match books.learn(&entries, expected.as_deref())? {
        true => Ok(made),
        false => {
            Err("somebody else has learned at the same time; see `flyball learn status`".into())
        }
    })
}

/// An overlay and abilities; of each, where nothing could be learned, why.
pub type LearnedBoth = (Result<Made, String>, Result<MadeAbilities, String>);

/// Learns an overlay, and then abilities by what is in force.
///
/// # Errors
/// The store fails.
pub fn learn_all(
    books: &mut dyn Store,
    named: Option<&Arms>,
    known: &BTreeMap<String, Ability>,
    now_ms: i64,
) -> Result<LearnedBoth, Error> {
    let made = learn(books, named, now_ms)?;
    Ok((made, learn_abilities(books, known, now_ms)?))
}

/// Both as programs read them: the overlay, and under `abilities` those.
///
/// # Errors
/// Nothing was learned; why.
pub fn all_told((made, abilities): &LearnedBoth) -> Result<Value, String> {
    let mut all = match (made, abilities) {
        (Ok(made), _) => told(made),
        (Err(why), Ok(_)) => json!({"id": null, "used": false, "because": why}),
        (Err(why), Err(abilities)) => {
            return Err(format!("{why}. Of models' abilities: {abilities}"));
        }
    };
    all["abilities"] = match abilities {
        Ok(made) => abilities_told(made),
        Err(why) => json!({"used": false, "because": why}),
    };
    Ok(all)
}

/// The abilities that are in force; those that were learned by another overlay than the one in force are not.
///
/// # Errors
/// The store fails.
pub fn abilities_in_force(books: &mut dyn Store) -> Result<Option<MadeAbilities>, Error> {
    let under = in_force(books)?.id;
    let text = books.learned_as(ABILITIES)?;
    Ok(read_abilities(text.as_deref(), under))
}

/// What came of learning abilities last, be it in force or not.
///
/// # Errors
/// The store fails.
pub fn abilities_made(books: &mut dyn Store) -> Result<Option<MadeAbilities>, Error> {
    let text = books.learned_as(LAST_ABILITIES)?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Goes back to the abilities of the table. False where none were in force.
///
/// # Errors
/// The store fails.
pub fn undo_abilities(books: &mut dyn Store) -> Result<bool, Error> {
    let text = books.learned_as(ABILITIES)?;
    let under = in_force(books)?.id;
    if read_abilities(text.as_deref(), under).is_none() {
        return Ok(false);
    }
    books.learn(
        &[(ABILITIES.to_owned(), "null".to_owned())],
        text.as_deref(),
    )
}

fn read_abilities(text: Option<&str>, under: Option<u64>) -> Option<MadeAbilities> {
    let made: MadeAbilities = serde_json::from_str(text?).ok()?;
    (made.under == under).then_some(made)
}

/// Goes back to what was in force before. Gives its number, or nothing for the grader alone.
///
/// # Errors
/// The store fails; in what is given, a sentence that says why there is nothing to go back to.
pub fn undo(books: &mut dyn Store) -> Result<Result<InForce, String>, Error> {
    let text = books.learned_as(IN_FORCE)?;
    let mut now = read_in_force(text.as_deref());
    if now.id.is_none() {
        let why = "no overlay that was learned is in force, so there is nothing to undo";
        return Ok(Err(why.to_owned()));
    }
    now.id = now.before.pop().filter(|id| *id > 0);
    let entries = [(IN_FORCE.to_owned(), text_of(&now))];
    Ok(match books.learn(&entries, text.as_deref())? {
        true => Ok(now),
        false => {
            Err("somebody else has learned at the same time; look again, and undo once more".into())
        }
    })
}

/// Takes a night, by its day's number, for this process alone; false where another one has it.
///
/// # Errors
/// The store fails.
pub fn claim(books: &mut dyn Store, night: i64) -> Result<bool, Error> {
    let taken = books.learned_as(NIGHT)?;
    if taken.as_deref().and_then(|n| n.parse().ok()) >= Some(night) {
        return Ok(false);
    }
    books.learn(&[(NIGHT.to_owned(), night.to_string())], taken.as_deref())
}

/// Gives a night back in which nothing could be learned since the store has failed: whoever claims it again learns in it.
///
/// # Errors
/// The store fails.
pub fn give_back(books: &mut dyn Store, night: i64) -> Result<bool, Error> {
    let taken = books.learned_as(NIGHT)?;
    if taken.as_deref().and_then(|n| n.parse().ok()) != Some(night) {
        return Ok(false);
    }
    let before = (NIGHT.to_owned(), (night - 1).to_string());
    books.learn(&[before], taken.as_deref())
}

/// It as programs read it, without its weights.
#[must_use]
pub fn told(made: &Made) -> Value {
    let figures = &made.figures;
    json!({
        "id": made.id, "at_ms": made.at_ms, "weak": made.arms.weak, "strong": made.arms.strong, "used": made.used, "because": made.because,
        "learned_from": figures.learned, "votes": figures.votes, "held_out": figures.held,
        "apgr_before": figures.apgr.0, "apgr_after": figures.apgr.1, "better_at_least": figures.better_at_least,
        "by_difficulty_before": figures.by_difficulty.0, "by_difficulty_after": figures.by_difficulty.1,
        "error_before": figures.error.0, "error_after": figures.error.1,
    })
}

/// Abilities as programs read them, without their numbers by skill.
#[must_use]
pub fn abilities_told(made: &MadeAbilities) -> Value {
    let LearnedAbilities {
        used,
        because,
        figures,
        ..
    } = &made.learned;
    let arms = figures.arms.iter().map(|(arm, (answers, expected, was))| {
        json!({"arm": arm, "answers": answers, "expected": expected, "was": was})
    });
    json!({
        "at_ms": made.at_ms, "overlay": made.under, "used": used, "because": because,
        "learned_from": figures.learned, "held_out": figures.held, "loss_before": figures.loss.0, "loss_after": figures.loss.1,
        "better_at_least": figures.better_at_least, "arms": arms.collect::<Vec<_>>(),
    })
}

fn text_of(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("names and numbers are JSON")
}

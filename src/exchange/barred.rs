//! Which arms of a request were barred: by a full cap of their own, or since they cannot do what is asked.

use super::returned;
use super::work::{Bar, Reply, Unserved};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::relay::AnswerBody;
use http::Response;
use std::fmt::Write;

/// What has become of the arms that were tried so far, none of which has answered.
#[derive(Default)]
pub(super) struct Tried {
    /// How the first of them ended, which is the answer if there is no other.
    first: Option<Reply>,
    /// Each that was barred, by its model, with the reason.
    barred: Vec<(String, Bar)>,
    /// One was asked, and has failed.
    failed: bool,
}

impl Tried {
    /// An arm has not answered. Gives what ends the exchange, if that does.
    pub(super) fn note(&mut self, arm: &Arm, unserved: Unserved) -> Option<Ended> {
        let reply = match unserved.of(arm) {
            Unserved::Final(reply) => return Some(Ended::With(reply)),
            Unserved::LocalInstead(refusal) => return Some(Ended::LocalInstead(refusal)),
            Unserved::NextArm(reply) => {
                self.failed = true;
                reply
            }
            Unserved::Barred(reply, bar) => {
                self.barred.push((arm.model.name.clone(), bar));
                reply
            }
        };
        self.first.get_or_insert(*reply);
        None
    }

    /// No arm was asked that might have answered: the next best may be.
    pub(super) fn only_barred(&self) -> bool {
        !self.failed && !self.barred.is_empty()
    }

    /// Says in an answer's head which arms would have been better.
    pub(super) fn told(&self, mut answer: Response<AnswerBody>) -> Response<AnswerBody> {
        let mut text = String::new();
        for (model, bar) in &self.barred {
            let comma = if text.is_empty() { "" } else { ", " };
            let _ = write!(text, "{comma}{model}: {}", bar.name());
        }
        if !text.is_empty() {
            returned::set(answer.headers_mut(), "x-flyball-barred", &text);
        }
        answer
    }

    /// How it ends where nobody has answered.
    pub(super) fn reply(self) -> Reply {
        let none = || Err(Error::new(Kind::Internal, "no arm was tried"));
        self.first.unwrap_or_else(none)
    }
}

/// An exchange is over.
pub(super) enum Ended {
    /// With this.
    With(Box<Reply>),
    /// A cap has no room, and says that a local model may answer instead.
    LocalInstead(Error),
}

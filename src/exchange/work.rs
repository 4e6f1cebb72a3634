//! What a kind of call is to the request path: which arms may serve it, what each is told, what that may cost, and how its answer is
//! read. A new kind of call is one more file that makes a [`Work`]; the path itself, in `exchange`, is the same for all of them.

use super::bound::Bound;
use crate::affinity::{Served, UserTurn};
use crate::capability::{Capabilities, Capability};
use crate::dialect::batch::PartLimits;
use crate::dialect::{Answer as Read, Dialect, Place};
use crate::error::Error;
use crate::fleet::Arm;
use crate::ledger::record::Opening;
use crate::probe::evidence::Witness;
use crate::provider::channel::{Channel, Stickiness};
use crate::relay::{AnswerBody, ReadWhole, Reading};
use crate::route::{Decision, Probe};
use crate::settle::Job;
use crate::telemetry::{Decided, TurnChange};
use crate::upstream::health::Ailment;
use crate::upstream::{Begins, Out};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Response};
use std::time::Duration;

/// The task in the books and the answer's head of what is not graded, and the model where a call names none.
pub(super) const UNNAMED: &str = "unknown";

/// How an exchange ends: with an answer to the client, which may be a provider's own error, or with an error of flyball's.
pub(super) type Reply = Result<Response<AnswerBody>, Error>;

/// Why an attempt did not end in an answer that is worth having.
pub(super) enum Unserved {
    /// The exchange is over.
    Final(Box<Reply>),
    /// Another arm may be tried; this is the answer if there is none.
    NextArm(Box<Reply>, Failing),
    /// This arm has not been tried, or cannot do what is asked: the next best may be; this is the answer if there is none.
    Barred(Box<Reply>, Bar),
    /// A cap has no room, and says that a local model may answer instead.
    LocalInstead(Error),
}

/// What is known of an attempt that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failing {
    /// Nothing of it has reached the provider.
    NotSent,
    /// The provider itself says that it has not taken it up, since it is busy, and perhaps for how long.
    Busy(Option<Duration>),
    /// The provider does not let us in: nothing was done, and nothing will be if it is asked again.
    Untaken,
    /// This account of ours may not do it there, or what it names is not there. Nothing was done; another account or address of the same
    /// provider may have it.
    Elsewhere,
    /// The provider may have done some of it, and may bill that.
    Unsure,
}

/// Why an arm cannot serve a request that another one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bar {
    /// A cap of its own has no room.
    Cap,
    /// Its provider says that the model cannot do this.
    Incapable(Capability),
    /// It was asked just now, and has failed.
    Failed,
    /// It has failed again and again lately, so that it was not asked.
    Down,
    /// Its rate limit is nearly used up, so that it was not asked.
    NearlyOut,
}

impl Bar {
    /// The word in the header.
    pub(super) fn name(self) -> &'static str {
        match self {
            Bar::Cap => "cap",
            Bar::Incapable(what) => what.name(),
            Bar::Failed => "failed",
            Bar::Down => "down",
            Bar::NearlyOut => "nearly_out",
        }
    }
}

impl Unserved {
    /// The same with who was asked, where that one has failed.
    pub(super) fn of(self, arm: &Arm) -> Unserved {
        let (provider, model) = (&arm.model.provider.name, arm.model.name.as_str());
        let model = Some(model).filter(|model| *model != UNNAMED);
        let named =
            |reply: Box<Reply>| Box::new(reply.map_err(|error| error.asked(provider, model)));
        match self {
            Unserved::Final(outcome) => Unserved::Final(named(outcome)),
            Unserved::NextArm(outcome, failing) => Unserved::NextArm(named(outcome), failing),
            Unserved::Barred(outcome, bar) => Unserved::Barred(named(outcome), bar),
            Unserved::LocalInstead(refusal) => Unserved::LocalInstead(refusal),
        }
    }

    /// The provider refuses the request itself.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Unserved::Final(reply) | Unserved::NextArm(reply, _) => reply
                .as_ref()
                .as_ref()
                .is_ok_and(|answer| matches!(answer.status().as_u16(), 400 | 404 | 422)),
            Unserved::Barred(..) | Unserved::LocalInstead(_) => false,
        }
    }

    /// What it says of the account that was asked, if it says that of it and not of the request.
    pub(super) fn refused_as(&self) -> Option<Ailment> {
        match self {
            Unserved::NextArm(_, Failing::Untaken) => Some(Ailment::Refused),
            Unserved::NextArm(_, Failing::Elsewhere) => Some(Ailment::Forbidden),
            _ => None,
        }
    }

    /// Whether the client is told this rather than how the same attempt ended on another channel later: what an account that is merely busy
    /// says, and not that another one does not let us in. `kept`: the first one asked is the one that has what the request names.
    pub(super) fn says_more_than(&self, later: &Unserved, kept: bool) -> bool {
        use Failing::{Busy, Elsewhere, NotSent, Untaken};
        match (self, later) {
            (
                Unserved::NextArm(_, Busy(_) | NotSent | Elsewhere),
                Unserved::NextArm(_, Untaken | Elsewhere),
            ) => true,
            (Unserved::NextArm(_, Elsewhere), Unserved::Final(_)) => kept && later.is_refusal(),
            _ => false,
        }
    }

    /// What the client is told of it.
    pub(super) fn reply(self) -> Reply {
        match self {
            Unserved::Final(reply) | Unserved::NextArm(reply, _) | Unserved::Barred(reply, _) => {
                *reply
            }
            Unserved::LocalInstead(refusal) => Err(refusal),
        }
    }

    /// The provider says that it has no room now, and has not taken it up.
    pub(super) fn is_busy(&self) -> bool {
        matches!(self, Unserved::NextArm(_, Failing::Busy(_)))
    }

    /// An error that no other arm can mend.
    pub(super) fn error(error: Error) -> Unserved {
        Unserved::last(Err(error))
    }

    /// The end of the exchange.
    pub(super) fn last(reply: Reply) -> Unserved {
        Unserved::Final(Box::new(reply))
    }

    /// The end of this attempt, of which nobody knows what the provider has done.
    pub(super) fn next(reply: Reply) -> Unserved {
        Unserved::failed(reply, Failing::Unsure)
    }

    /// The end of this attempt.
    pub(super) fn failed(reply: Reply, failing: Failing) -> Unserved {
        Unserved::NextArm(Box::new(reply), failing)
    }
}

/// What an arm is told, before the token limit that its reservation grants is known.
#[derive(Clone)]
pub(super) struct Wording {
    /// The dialect of the body.
    pub(super) dialect: &'static dyn Dialect,
    pub(super) body: Bytes,
    /// The client speaks another dialect.
    pub(super) translated: bool,
    /// It is in the client's dialect, but not what the client sent: the model takes less.
    pub(super) bent: bool,
    /// Names of tools that the model does not take: what each is called there, and what the client calls it.
    pub(super) renamed: Vec<(String, String)>,
    /// The client's fields that were let go.
    pub(super) lost: Vec<String>,
}

impl Wording {
    /// The client's own bytes.
    pub(super) fn own(dialect: &'static dyn Dialect, body: Bytes) -> Wording {
        Wording {
            dialect,
            body,
            translated: false,
            bent: false,
            renamed: Vec::new(),
            lost: Vec::new(),
        }
    }
}

/// The question whether an answer is right, as a request of its own.
pub(super) struct Check {
    /// Whom it goes to.
    pub(super) arm: Arm,
    /// The request, in the client's dialect.
    pub(super) body: Bytes,
    /// Where it is asked.
    pub(super) place: Place<'static>,
}

/// What a call is as a line of a batch of its vendor's.
pub(super) struct BatchLine<'w> {
    /// What the vendor is told.
    pub(super) told: Wording,
    /// How much one of its batches takes.
    pub(super) limits: PartLimits,
    /// What the client has asked.
    pub(super) body: &'w Bytes,
    /// What was decided of it.
    pub(super) decision: &'w Decision,
}

/// One call of one kind.
pub(super) trait Work: Send + Sync {
    /// The arms to try, in this order.
    fn arms(&self) -> &[Arm];

    /// The cheaper arm that is asked before the first of them, whose answer shows whether that one is needed.
    fn probe(&self) -> Option<&Probe> {
        None
    }

    /// The arm was asked how likely its tokens were, and tells it or not.
    fn tells(&self, _arm: &Arm, _told: bool) {}

    /// The question whether this answer of the cheaper arm is right; `None` where it cannot be asked.
    fn check(&self, _probe: &Probe, _answer: &str) -> Option<Check> {
        None
    }

    /// The arms that are tried after all of these, best first, and only where each of them is barred, or has failed in a way that leaves
    /// no bill.
    fn further(&self) -> &[Arm] {
        &[]
    }

    /// It can be sent again as it is, should nothing of it have been taken up.
    fn repeats(&self) -> bool {
        false
    }

    /// Its answer is a stream.
    fn streams(&self) -> bool {
        false
    }

    /// After a failure that has left no bill it may go to the same model on another channel of its provider.
    fn moves(&self) -> bool {
        self.repeats()
    }

    /// Which channel of an arm's provider it belongs on.
    fn sticks(&self, _arm: &Arm) -> Stickiness {
        Stickiness::default()
    }

    /// What is asked of the model besides words, where another one may answer if this one cannot.
    fn asks(&self) -> Capabilities {
        Capabilities::default()
    }

    /// What this arm is told.
    ///
    /// # Errors
    /// It cannot be told the request.
    fn told(&self, arm: &Arm) -> Result<Wording, Unserved>;

    /// The attempt on this arm that is told this.
    ///
    /// # Errors
    /// What it costs has no bound where a cap needs one, or a gate stands in the way.
    fn order<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved>;

    /// The same at the lower rates of its vendor's flex tier, which answers when it has room; `None` where the request cannot wait, or the
    /// vendor has no such tier.
    fn order_that_waits<'o>(
        &'o self,
        _arm: &'o Arm,
        _told: &'o Wording,
    ) -> Option<Box<dyn Order + 'o>> {
        None
    }

    /// What it is within a batch of the arm's vendor; `None` where its client does not come back for its answer, or the vendor has no batches.
    fn batch_line(&self, _arm: &Arm, _told: &Wording) -> Option<BatchLine<'_>> {
        None
    }

    /// The attempt on this arm within a batch of its vendor's.
    ///
    /// # Errors
    /// As of an attempt by itself.
    fn order_in_batch<'o>(
        &'o self,
        arm: &'o Arm,
        told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        self.order(arm, told)
    }

    /// The same for a comparison with an answer that stands, which a cap of its own counts; `None` where that cannot be.
    fn order_to_explore<'o>(
        &'o self,
        _arm: &'o Arm,
        _told: &'o Wording,
    ) -> Option<Box<dyn Order + 'o>> {
        None
    }

    /// The decision that led to these arms, where one was made.
    fn decided(&self) -> Option<Decided<'_>> {
        None
    }

    /// The model that it asks for, where it asks for one that flyball reads.
    fn asked(&self) -> Option<&str> {
        None
    }

    /// What this arm changes in the conversation since the turn before; `None` where there was none, or the turn only goes on.
    fn changed(&self, _arm: &Arm) -> Option<Option<TurnChange>> {
        None
    }

    /// What the turn has to remember, once this arm has answered.
    fn remembers(&self, _arm: &Arm) -> Option<(UserTurn, Served)> {
        None
    }

    /// The same on local models alone, for a cap that is full and says so; `None` where there is no such way.
    fn on_local_models(&self) -> Option<Box<dyn Work + '_>> {
        None
    }
}

/// One attempt that has not gone out yet.
pub(super) trait Order: Send + Sync {
    /// The most that it may cost; `None` for what is in no book, since it costs nothing.
    fn bound(&mut self) -> Option<Bound>;

    /// The row that opens it.
    fn opening(&self) -> Opening;

    /// What goes out on this channel, once so many answer tokens are granted.
    ///
    /// # Errors
    /// A defect: the arm was chosen and has no address for it.
    fn outgoing(&mut self, granted: u64, channel: &Channel) -> Result<Outgoing, Error>;

    /// Asks for what its answer shows of itself, which the client has not asked for and does not see. Gives who looks at the answer;
    /// `None` where it would show nothing. Called before [`Order::outgoing`].
    fn look(&mut self) -> Option<Witness> {
        None
    }

    /// What its end needs. Asked for after [`Order::outgoing`], which may lower the effort.
    fn job(&self) -> Job;

    /// Says in the head of an answer who serves it, and why.
    fn announce(&self, headers: &mut HeaderMap);

    /// How the body of a good answer is read; `ended` where there is none. May say what the body is now.
    fn reading(&mut self, head: &mut Parts, ended: bool) -> Way;

    /// A whole answer as the client reads it.
    ///
    /// # Errors
    /// It cannot be said in the client's dialect.
    fn answer(&self, head: Parts, bytes: Bytes, read: Read) -> Reply;
}

/// What goes out.
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) body: Out,
    /// When its answer begins.
    pub(super) begins: Begins,
    /// There is no body whose type must be told.
    pub(super) bodiless: bool,
    /// A header of its own, in the place of the client's of this name.
    pub(super) header: Option<(&'static str, HeaderValue)>,
}

/// How the body of an answer goes to the client.
pub(super) enum Way {
    /// There is none.
    Empty,
    /// As it comes.
    Relayed(Reading),
    /// Whole, so that its cost can stand in its head.
    Held(Hold),
}

/// An answer that is held back until it is whole.
pub(super) struct Hold {
    /// No more than so many bytes are held.
    pub(super) bytes_max: usize,
    /// Reads what it used.
    pub(super) read: ReadWhole,
    pub(super) books: Booked,
    /// What happens to a longer one.
    pub(super) longer: Longer,
}

/// What an answer's own words are to the books.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Booked {
    /// The answer to a request that flyball reads.
    Answered,
    /// The answer to what is only passed on: it may tell nothing.
    Passed,
}

/// What happens to an answer that is too long to be held back.
pub(super) enum Longer {
    /// It goes on as it comes, and is read at its end.
    Relayed,
    /// It goes on as it comes, unread.
    Unread,
    /// It cannot go on; the sentence says why.
    Refused(&'static str),
}

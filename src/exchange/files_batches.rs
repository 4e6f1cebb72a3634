//! Files, batches and kept answers: passed on to the one provider that keeps them. What a batch costs is known to nobody when it is handed in,
//! so they are refused where a cap would have to hold it, and for what must stay on this machine.

use super::admission::Admission;
use super::batches::passed::{self, MadeBatch, NewBatch, Whose};
use super::body::check_body;
use super::passthrough::{self, Passed, check_path, with_query};
use super::router::Collection;
use super::work::{Booked, Hold, Longer, Order, Outgoing, Reply, Unserved, Way, Wording, Work};
use super::{reply, returned};
use crate::dialect::{self, Answer as Read, Dialect, Event, StreamDecoder};
use crate::error::{Error, Kind};
use crate::fleet::Arm;
use crate::ledger::record::Opening;
use crate::provider::channel::{Channel, Stickiness};
use crate::provider::{Provider, Side};
use crate::relay::{AnswerBody, Reading, Watch};
use crate::route::Policy;
use crate::settle::jobs::Jobs;
use crate::settle::{Input, Job};
use crate::upstream::{Begins, Out, Upload};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, Method, Response};
use hyper::body::{Body, Incoming};
use std::sync::{Arc, Mutex, PoisonError};

/// A call about files or batches, on the provider that keeps them.
pub(super) struct Keeping<'a> {
    admission: &'a Admission<'a>,
    place: Collection<'a>,
    jobs: &'a Arc<Jobs>,
    arms: [Arm; 1],
    /// The client's body, until it goes out.
    body: Mutex<Option<HandedIn>>,
    /// The cost of what it makes is reserved already, line by line.
    reserved: bool,
    /// The batch that the call has made.
    making: NewBatch,
}

/// The client's body.
pub(super) enum HandedIn {
    /// It is passed on as it comes.
    Coming(Incoming),
    /// It was read whole, to be looked at.
    Whole(Bytes),
}

impl HandedIn {
    fn is_empty(&self) -> bool {
        match self {
            HandedIn::Coming(body) => body.is_end_stream(),
            HandedIn::Whole(body) => body.is_empty(),
        }
    }
}

impl<'a> Keeping<'a> {
    /// # Errors
    /// Nobody keeps such things, or this caller may not use them.
    pub(super) fn new(
        admission: &'a Admission<'a>,
        (body, reserved): (HandedIn, bool),
        place: Collection<'a>,
        (jobs, made_by): (&'a Arc<Jobs>, Option<String>),
    ) -> Result<Keeping<'a>, Error> {
        if admission.wishes.private {
            let public = "This request is confidential and must stay on local models, and files and batches are kept by their provider.";
            return Err(Error::new(Kind::PrivateOnly, public).code("flyball_private"));
        }
        if admission.caller.is_limited() && !place.is_free() {
            let public =
                "This key may use only some models, and which ones a batch uses cannot be told.";
            return Err(Error::new(Kind::Forbidden, public).code("model_not_allowed"));
        }
        let provider = keeper(
            &admission.policy,
            place,
            made_by.as_deref().or(admission.wishes.provider()),
        )?;
        check_path(place.rest)?;
        check_body(admission.head, admission.limits.body_bytes_max)?;
        Ok(Keeping {
            arms: [passthrough::unnamed(&admission.policy, &provider)],
            admission,
            place,
            jobs,
            body: Mutex::new(Some(body)),
            reserved,
            making: NewBatch::default(),
        })
    }

    /// The batch that the call has made, and whose it is.
    pub(super) fn made(&self) -> Option<(Whose, MadeBatch)> {
        let made = self.making.take()?;
        let whose = Whose::of(self.admission);
        Some((whose, made))
    }

    /// What a refusal under a cap says besides.
    fn advice(&self) -> Option<&'static str> {
        let of_batches = matches!(self.place.side, Side::Batches(_));
        of_batches.then_some("A batch that flyball keeps itself is held under the cap line by line: leave out x-flyball-provider, and let [batch] keep = true.")
    }

    /// The provider, and the path there.
    pub(super) fn at(&self) -> (&Arc<Provider>, String) {
        let provider = &self.arms[0].model.provider;
        let home = &provider.home;
        let url = provider.side(home, self.place.side, "", "");
        let url = url.unwrap_or_default();
        let path = url.strip_prefix(home.base_url.as_str()).unwrap_or(&url);
        (provider, format!("{path}{}", self.place.rest))
    }
}

impl Work for Keeping<'_> {
    fn arms(&self) -> &[Arm] {
        &self.arms
    }

    /// What has a body is passed on as it comes, once.
    fn moves(&self) -> bool {
        let body = self.body.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().is_some_and(HandedIn::is_empty)
    }

    /// What is kept is with the account that a call before it has handed it to.
    fn sticks(&self, _arm: &Arm) -> Stickiness {
        self.admission.sticks_to_caller()
    }

    fn told(&self, _arm: &Arm) -> Result<Wording, Unserved> {
        Ok(Wording::own(self.admission.dialect, Bytes::new()))
    }

    fn order<'o>(
        &'o self,
        arm: &'o Arm,
        _told: &'o Wording,
    ) -> Result<Box<dyn Order + 'o>, Unserved> {
        let models = passthrough::NamedModels::Perhaps(&[]);
        // A file costs nothing by itself, and a batch is only looked at or cancelled but where it is made.
        let makes = self.place.makes(&self.admission.head.method);
        let costs = makes && matches!(self.place.side, Side::Batches(_));
        if costs && !self.reserved {
            passthrough::check_uncapped(self.admission, arm, models, self.place.name)
                .map_err(|error| Unserved::error(error.also(self.advice())))?;
        }
        Ok(Box::new(KeepOrder {
            keeping: self,
            passed: Passed {
                admission: self.admission,
                arm,
                dialect: self.admission.dialect,
            },
        }))
    }
}

/// One attempt before it goes out.
struct KeepOrder<'a> {
    keeping: &'a Keeping<'a>,
    passed: Passed<'a>,
}

impl KeepOrder<'_> {
    /// The answer that is fetched or cancelled here, by its id, and the dialect that it is in.
    fn fetched(&self) -> Option<(&'static dyn Dialect, &str)> {
        let place = &self.keeping.place;
        let Side::Answers(dialect) = place.side else {
            return None;
        };
        let id = place.rest.strip_prefix('/')?;
        let id = id.strip_suffix("/cancel").unwrap_or(id);
        let deleted = self.keeping.admission.head.method == Method::DELETE;
        let one = !id.is_empty() && !id.contains('/') && !deleted;
        Some((dialect::named(dialect)?, id)).filter(|_| one)
    }
}

/// A job in the background that is fetched as a stream. What it tells is the job's, and nothing of it that of the call which fetches it.
struct JobWatch {
    decoder: Box<dyn StreamDecoder>,
    jobs: Arc<Jobs>,
    provider: String,
    id: String,
    answer: Read,
}

impl JobWatch {
    fn new(
        decoder: Box<dyn StreamDecoder>,
        jobs: Arc<Jobs>,
        (provider, id): (&str, &str),
    ) -> JobWatch {
        JobWatch {
            decoder,
            jobs,
            provider: provider.to_owned(),
            id: id.to_owned(),
            answer: Read::default(),
        }
    }

    fn read(&mut self, read: impl FnOnce(&mut dyn StreamDecoder, &mut dyn FnMut(Event))) {
        let answer = &mut self.answer;
        read(&mut *self.decoder, &mut |event| match event {
            // What a stream says is counted by its usage alone, and may be long.
            Event::Usage(_) | Event::Finish(_) | Event::Error(_) => answer.add(event),
            _ => {}
        });
        if self.answer.first.finish.is_some() || self.answer.error.is_some() {
            self.jobs.told(&self.provider, &self.id, &self.answer);
        }
    }
}

impl StreamDecoder for JobWatch {
    fn feed(&mut self, bytes: &[u8], _on: &mut dyn FnMut(Event)) {
        self.read(|decoder, on| decoder.feed(bytes, on));
    }

    fn finish(&mut self, on: &mut dyn FnMut(Event)) {
        self.read(|decoder, on| decoder.finish(on));
        // The call itself is complete, however far the job has come.
        on(Event::End);
    }
}

impl Order for KeepOrder<'_> {
    fn bound(&mut self) -> Option<super::bound::Bound> {
        Some(Passed::bound())
    }

    fn opening(&self) -> Opening {
        self.passed.opening()
    }

    fn outgoing(&mut self, _granted: u64, channel: &Channel) -> Result<Outgoing, Error> {
        let Keeping {
            admission, place, ..
        } = self.keeping;
        let mut kept = self
            .keeping
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // What is empty can go out as often as anybody is asked.
        let body = match kept.as_ref().is_some_and(HandedIn::is_empty) {
            true => Some(HandedIn::Whole(Bytes::new())),
            false => kept.take(),
        };
        let body =
            body.ok_or_else(|| Error::new(Kind::Internal, "the body has gone out already"))?;
        self.keeping.making.goes_out_on(channel);
        let provider = &self.passed.arm.model.provider;
        let url = provider
            .side(channel, place.side, "", "")
            .unwrap_or_default();
        Ok(Outgoing {
            method: admission.head.method.clone(),
            url: with_query(url + place.rest, admission.head.uri.query()),
            bodiless: body.is_empty() || admission.head.method == Method::GET,
            header: None,
            body: match body {
                HandedIn::Coming(body) => Out::Streamed(Upload::new(body, admission.limits)),
                HandedIn::Whole(body) => body.into(),
            },
            begins: Begins::AtItsEnd,
        })
    }

    fn job(&self) -> Job {
        self.passed.job(Input::Unknown)
    }

    fn announce(&self, headers: &mut HeaderMap) {
        self.passed.announce(headers);
    }

    fn reading(&mut self, head: &mut Parts, _ended: bool) -> Way {
        let rule = self.passed.arm.model.provider.kind.usage;
        let json = returned::is_json(&head.headers);
        match self.fetched() {
            Some(_) if json => {
                return Way::Held(Hold {
                    bytes_max: reply::TRANSLATED_MAX,
                    read: Box::new(|_| Read::default()),
                    books: Booked::Passed,
                    longer: Longer::Unread,
                });
            }
            Some((dialect, id)) if returned::is_event_stream(&head.headers) => {
                let jobs = Arc::clone(self.keeping.jobs);
                let provider = &self.passed.arm.model.provider.name;
                let watch = JobWatch::new(dialect.stream(rule), jobs, (provider, id));
                return Way::Relayed(Reading::Passed(Watch::Events(Box::new(watch))));
            }
            _ => {}
        }
        let (provider, path) = self.keeping.at();
        let makes = passed::makes(provider, &self.keeping.admission.head.method, &path);
        match self.keeping.place.here.is_some() || makes {
            true if returned::is_json(&head.headers) => Way::Held(Hold {
                bytes_max: reply::LISTED_MAX,
                read: Box::new(|_| Read::default()),
                books: Booked::Passed,
                longer: Longer::Unread,
            }),
            _ => Way::Relayed(Reading::Passed(Watch::Nothing)),
        }
    }

    fn answer(&self, head: Parts, bytes: Bytes, _read: Read) -> Reply {
        if let Some((dialect, id)) = self.fetched() {
            let provider = &self.passed.arm.model.provider;
            let answer = dialect.answer(&bytes, provider.kind.usage);
            self.keeping.jobs.told(&provider.name, id, &answer);
        }
        let (provider, path) = self.keeping.at();
        let method = &self.keeping.admission.head.method;
        let told = (head.status, &bytes);
        self.keeping.making.look(provider, (method, &path), told);
        let here = self.keeping.place.here;
        let bytes = here.map_or(bytes.clone(), |here| here(bytes));
        Ok(Response::from_parts(head, AnswerBody::whole(bytes)))
    }
}

/// The provider that is asked for, or the first that keeps such things.
pub(super) fn keeper(
    policy: &Policy,
    place: Collection<'_>,
    chosen: Option<&str>,
) -> Result<Arc<Provider>, Error> {
    let all = policy.fleet.providers.iter();
    let keepers: Vec<&Arc<Provider>> = all
        .filter(|p| p.kind.sides.iter().any(|(side, _)| *side == place.side))
        .collect();
    let found = match chosen {
        None => keepers.first(),
        Some(name) => keepers.iter().find(|p| p.name == name),
    };
    found.map(|p| Arc::clone(p)).ok_or_else(|| {
        let names: Vec<&str> = keepers.iter().map(|p| p.name.as_str()).collect();
        match names[..] {
            [] => Error::new(
                Kind::NotFound,
                format!("No configured provider serves {}.", place.name),
            ),
            _ => Error::bad_field(
                "x-flyball-provider",
                format!(
                    "x-flyball-provider takes one of those that serve {}: {}.",
                    place.name,
                    names.join(", ")
                ),
            ),
        }
    })
}

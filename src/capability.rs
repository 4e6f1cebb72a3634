//! What a request may ask of a model that not every model can do. What a vendor says of its models stands in `takes` and
//! `fleet::senses`; what nobody says is not known, and keeps nothing away from a model.

/// One thing that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// To see pictures.
    Images,
    /// To hear sound.
    Audio,
    /// To read documents.
    Documents,
    /// To take instructions apart from the turns.
    Instructions,
    /// To call tools.
    Tools,
    /// To answer in JSON of any shape.
    Json,
    /// To answer in JSON of a given schema.
    Schema,
    /// To give several answers to one request.
    Choices,
    /// To end the answer at a text that the client names.
    Stop,
    /// To tell how likely the tokens of the answer were.
    Logprobs,
}

impl Capability {
    /// All of them, in the order in which they are looked for.
    pub const ALL: [Capability; 10] = [
        Capability::Images,
        Capability::Audio,
        Capability::Documents,
        Capability::Instructions,
        Capability::Tools,
        Capability::Json,
        Capability::Schema,
        Capability::Choices,
        Capability::Stop,
        Capability::Logprobs,
    ];

    /// The name in headers.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Capability::Images => "images",
            Capability::Audio => "audio",
            Capability::Documents => "documents",
            Capability::Instructions => "instructions",
            Capability::Tools => "tools",
            Capability::Json => "json_mode",
            Capability::Schema => "json_schema",
            Capability::Choices => "choices",
            Capability::Stop => "stop",
            Capability::Logprobs => "logprobs",
        }
    }

    /// What is said of a model that does not have it.
    #[must_use]
    pub fn lacking(self) -> &'static str {
        match self {
            Capability::Images => "it sees no pictures",
            Capability::Audio => "it hears no sound",
            Capability::Documents => "it reads no documents",
            Capability::Instructions => "it takes no instructions",
            Capability::Tools => "it calls no tools",
            Capability::Json => "it has no JSON mode",
            Capability::Schema => "it follows no JSON schema",
            Capability::Choices => "it gives one answer only",
            Capability::Stop => "it takes no text that ends the answer",
            Capability::Logprobs => "it tells no probabilities",
        }
    }

    /// The same where its provider has said so within the last minutes.
    #[must_use]
    pub fn refused(self) -> &'static str {
        match self {
            Capability::Images => "its provider says that it sees no pictures",
            Capability::Audio => "its provider says that it hears no sound",
            Capability::Documents => "its provider says that it reads no documents",
            Capability::Instructions => "its provider says that it takes no instructions",
            Capability::Tools => "its provider says that it calls no tools",
            Capability::Json => "its provider says that it has no JSON mode",
            Capability::Schema => "its provider says that it follows no JSON schema",
            Capability::Choices => "its provider says that it gives one answer only",
            Capability::Stop => "its provider says that it takes no text that ends the answer",
            Capability::Logprobs => "its provider says that it tells no probabilities",
        }
    }

    /// The field that asks for it, as Chat Completions calls it.
    #[must_use]
    pub fn field(self) -> &'static str {
        match self {
            Capability::Images
            | Capability::Audio
            | Capability::Documents
            | Capability::Instructions => "messages",
            Capability::Tools => "tools",
            Capability::Json | Capability::Schema => "response_format",
            Capability::Choices => "n",
            Capability::Stop => "stop",
            Capability::Logprobs => "logprobs",
        }
    }
}

/// Several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(u16);

impl Capabilities {
    /// These, with or without one.
    #[must_use]
    pub fn set(self, one: Capability, there: bool) -> Capabilities {
        let bit = 1 << one as u16;
        match there {
            true => Capabilities(self.0 | bit),
            false => Capabilities(self.0 & !bit),
        }
    }

    /// Whether one is among them.
    #[must_use]
    pub fn has(self, one: Capability) -> bool {
        self.0 & (1 << one as u16) != 0
    }

    /// There is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The first that is among the others too.
    #[must_use]
    pub fn first_of(self, others: Capabilities) -> Option<Capability> {
        let both = Capabilities(self.0 & others.0);
        Capability::ALL.into_iter().find(|one| both.has(*one))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_what_is_asked_and_not_there() {
        let asked = Capabilities::default()
            .set(Capability::Tools, true)
            .set(Capability::Json, true);
        let lacks = Capabilities::default()
            .set(Capability::Json, true)
            .set(Capability::Stop, true);
        assert_eq!(asked.first_of(lacks), Some(Capability::Json));
        assert_eq!(asked.set(Capability::Json, false).first_of(lacks), None);
        assert!(!asked.is_empty() && Capabilities::default().is_empty());
        let each = Capability::ALL.map(|one| Capabilities::default().set(one, true));
        assert!(
            Capability::ALL
                .iter()
                .zip(each)
                .all(|(one, set)| set.has(*one))
        );
    }
}

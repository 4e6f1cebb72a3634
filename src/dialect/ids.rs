//! Ids for tool calls in dialects that know a call by its tool's name: results come back in the order of their calls.

/// The calls of one conversation that have no result yet.
#[derive(Default)]
pub(super) struct Ids {
    made: usize,
    open: Vec<(String, String)>,
}

impl Ids {
    /// The id of a call: its own, or a new one.
    pub(super) fn call(&mut self, name: &str, id: Option<String>) -> String {
        let id = id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
            self.made += 1;
            format!("call_{}", self.made)
        });
        self.open.push((name.to_owned(), id.clone()));
        id
    }

    /// The id and name of the call that a result answers: by its id, by its tool's name, else the oldest.
    pub(super) fn result(&mut self, name: &str, id: Option<String>) -> Option<(String, String)> {
        let id = id.filter(|id| !id.is_empty());
        let fits = |(known, own): &(String, String)| match &id {
            Some(id) => own == id,
            None => name.is_empty() || known == name,
        };
        match self.open.iter().position(fits) {
            Some(at) => {
                let (name, id) = self.open.remove(at);
                Some((id, name))
            }
            None => id.map(|id| (id, name.to_owned())),
        }
    }
}

//! The grader's file: how the weights are written and read.

use super::{
    Blend, Curve, Everyday, Forest, Grader, LEAF, Line, Node, Scores, TASKS, TaskWords, Trees,
    WordRow, WordWeights,
};
use crate::classify::{GRAM_BUCKETS, Task, signals};

/// What the file begins with.
const MAGIC: &[u8; 8] = b"flyballG";
/// The version of the file's layout.
const VERSION: u32 = 4;

impl Grader {
    /// Writes the file.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_u32(&mut out, VERSION);
        put_text(&mut out, &self.card);
        let names: Vec<&str> = signals::all().map(|s| s.name).collect();
        put_text(&mut out, &names.join(" "));
        for (a, b) in self.usual.iter().chain(&self.moments) {
            out.extend(a.to_le_bytes());
            out.extend(b.to_le_bytes());
        }
        for value in &self.typical {
            out.extend(value.to_le_bytes());
        }
        out.extend(&self.rarity);
        for weight in self.blend.weights.as_flattened() {
            out.extend(weight.to_le_bytes());
        }
        put_curve(&mut out, &self.difficulty);
        put_curve(&mut out, &self.failure);
        let standard = self.scores.everyday.standard;
        for number in [
            self.gain.slope,
            self.gain.offset,
            standard.slope,
            standard.offset,
        ] {
            out.extend(number.to_le_bytes());
        }
        for words in [
            &self.scores.gain_words,
            &self.scores.fail_words,
            &self.scores.everyday.words,
        ] {
            out.extend(words.scale.to_le_bytes());
            out.extend(words.weights.iter().map(|w| w.cast_unsigned()));
        }
        for forest in self.forests() {
            put_forest(&mut out, forest);
        }
        for scale in self.task_words.scales {
            out.extend(scale.to_le_bytes());
        }
        out.extend(
            self.task_words
                .weights
                .iter()
                .flat_map(|row| &row[..TASKS])
                .map(|w| w.cast_unsigned()),
        );
        out
    }

    pub(super) fn forests(&self) -> impl Iterator<Item = &Forest> {
        [
            &self.scores.gain_pair,
            &self.scores.gain_group,
            &self.scores.fail,
            &self.scores.everyday.trees,
            &self.answer,
            &self.reasoning,
        ]
        .into_iter()
        .chain(&self.tasks)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// It is cut short, of another version, or asks for a signal that this flyball does not measure.
    pub fn read(bytes: &[u8]) -> Result<Grader, String> {
        let mut from = GraderReader { rest: bytes };
        if from.take(MAGIC.len())? != MAGIC {
            return Err("this is not a grader's file".into());
        }
        let version = from.u32()?;
        if version != VERSION {
            return Err(format!(
                "the grader's file has version {version}, this flyball reads version {VERSION}"
            ));
        }
        let card = from.text()?;
        let names = from.text()?;
        let places = places(&names)?;
        let mut usual = vec![(f32::NEG_INFINITY, f32::INFINITY); signals::COUNT];
        for place in &places {
            usual[usize::from(*place)] = (from.f32()?, from.f32()?);
        }
        let mut moments = vec![(0.0, 1.0); signals::COUNT];
        for place in &places {
            moments[usize::from(*place)] = (from.f32()?, from.f32()?);
        }
        let mut typical = vec![0.0; signals::COUNT];
        for place in &places {
            typical[usize::from(*place)] = from.f32()?;
        }
        let rarity = from.take(GRAM_BUCKETS as usize)?.to_vec();
        let mut blend = Blend::default();
        for weight in blend.weights.as_flattened_mut() {
            *weight = from.f32()?;
        }
        let (difficulty, failure) = (from.curve()?, from.curve()?);
        let gain = from.line()?;
        let standard = from.line()?;
        let (gain_words, fail_words, words) = (from.words()?, from.words()?, from.words()?);
        let scores = Scores {
            gain_words,
            fail_words,
            gain_pair: from.forest(&places)?,
            gain_group: from.forest(&places)?,
            fail: from.forest(&places)?,
            everyday: Everyday {
                trees: from.forest(&places)?,
                words,
                standard,
            },
        };
        let grader = Grader {
            card,
            scores,
            blend,
            difficulty,
            failure,
            gain,
            trees: Trees::default(),
            typical,
            usual,
            moments,
            rarity,
            answer: from.forest(&places)?,
            reasoning: from.forest(&places)?,
            tasks: Task::ALL
                .iter()
                .map(|_| from.forest(&places))
                .collect::<Result<_, _>>()?,
            task_words: from.task_words()?,
        };
        if !from.rest.is_empty() {
            return Err("the grader's file is longer than it should be".into());
        }
        grader.lay_out()
    }
}

/// Where the signals of the file are now.
fn places(names: &str) -> Result<Vec<u16>, String> {
    let place = |name: &str| {
        let at = signals::all().position(|s| s.name == name);
        at.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| {
            format!("the grader asks for a signal \"{name}\", which this flyball does not measure")
        })
    };
    names.split_whitespace().map(place).collect()
}

fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend(number.to_le_bytes());
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    put_u32(
        out,
        u32::try_from(len).expect("a grader has a few megabytes"),
    );
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend(text.as_bytes());
}

fn put_curve(out: &mut Vec<u8>, curve: &Curve) {
    put_len(out, curve.knots.len());
    for number in curve
        .knots
        .iter()
        .flat_map(|(score, chance)| [*score, *chance])
    {
        out.extend(number.to_le_bytes());
    }
}

fn put_forest(out: &mut Vec<u8>, forest: &Forest) {
    out.extend(forest.start.to_le_bytes());
    put_len(out, forest.roots.len());
    put_len(out, forest.nodes.len());
    for root in &forest.roots {
        put_u32(out, *root);
    }
    for node in &forest.nodes {
        out.extend(node.signal.to_le_bytes());
        out.extend(node.right.to_le_bytes());
        out.extend(node.value.to_le_bytes());
    }
}

struct GraderReader<'a> {
    rest: &'a [u8],
}

impl<'a> GraderReader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or("the grader's file is cut short")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, String> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, String> {
        self.array().map(u32::from_le_bytes)
    }

    fn f32(&mut self) -> Result<f32, String> {
        self.array().map(f32::from_le_bytes)
    }

    fn f64(&mut self) -> Result<f64, String> {
        self.array().map(f64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, String> {
        let len = self.u32()? as usize;
        String::from_utf8(self.take(len)?.to_vec())
            .map_err(|_| "the grader's file has a text that is not UTF-8".into())
    }

    fn curve(&mut self) -> Result<Curve, String> {
        let knots = (0..self.u32()?).map(|_| Ok((self.f64()?, self.f64()?)));
        Ok(Curve {
            knots: knots.collect::<Result<_, String>>()?,
        })
    }

    fn line(&mut self) -> Result<Line, String> {
        Ok(Line {
            slope: self.f64()?,
            offset: self.f64()?,
        })
    }

    fn words(&mut self) -> Result<WordWeights, String> {
        let scale = self.f32()?;
        let weights = self
            .take(GRAM_BUCKETS as usize)?
            .iter()
            .map(|b| b.cast_signed())
            .collect();
        Ok(WordWeights { scale, weights })
    }

    fn task_words(&mut self) -> Result<TaskWords, String> {
        let mut scales = [0.0; TASKS];
        for scale in &mut scales {
            *scale = self.f32()?;
        }
        let weights = (0..GRAM_BUCKETS)
            .map(|_| {
                let mut row = WordRow::default();
                row[..TASKS].copy_from_slice(&self.array::<TASKS>()?.map(u8::cast_signed));
                Ok(row)
            })
            .collect::<Result<_, String>>()?;
        Ok(TaskWords { scales, weights })
    }

    fn forest(&mut self, places: &[u16]) -> Result<Forest, String> {
        let start = self.f32()?;
        let (roots, nodes) = (self.u32()? as usize, self.u32()? as usize);
        let mut forest = Forest {
            start,
            ..Forest::default()
        };
        for _ in 0..roots {
            forest.roots.push(self.u32()?);
        }
        for _ in 0..nodes {
            let (signal, right, value) = (self.u16()?, self.u16()?, self.f32()?);
            let signal = match signal {
                LEAF => LEAF,
                asked => *places
                    .get(usize::from(asked))
                    .ok_or("the grader's file asks for a signal that it does not name")?,
            };
            forest.nodes.push(Node {
                signal,
                right,
                value,
            });
        }
        if forest.sound(signals::COUNT) {
            Ok(forest)
        } else {
            Err("the grader's file has a tree that leads nowhere".into())
        }
    }
}

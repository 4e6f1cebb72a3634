//! What decisions were worth on recorded outcomes: their quality and cost, beside always one model, chance and the length of prompts
//! at equal cost, and an oracle. It decides nothing and knows no prices: every answer comes with what it cost.

use super::mean;
use serde::Serialize;

/// One model's answer to one question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// 0 to 1.
    pub score: f64,
    /// US dollars.
    pub cost: f64,
}

/// What was decided for one question.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Which model, by its place in [`Question::answers`].
    pub model: usize,
    /// What came of it.
    pub answer: Answer,
}

/// One question that several models have answered.
#[derive(Clone, Debug)]
pub struct Question {
    /// Characters of the prompt.
    pub chars: usize,
    /// By model; nothing where it was not asked.
    pub answers: Vec<Option<Answer>>,
    /// By way of deciding; nothing where the chosen model was not asked.
    pub choices: Vec<Option<Choice>>,
}

/// The models between which chance and length choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The cheap one.
    pub weak: usize,
    /// The good one.
    pub strong: usize,
}

/// What came of a way of deciding, on average over the questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Worth {
    /// Mean score.
    pub quality: f64,
    /// As a share of always-strong's quality; nothing where that is none.
    pub quality_share: Option<f64>,
    /// Mean cost of a question.
    pub cost_usd: f64,
    /// As a share of always-strong's cost; nothing where that is none.
    pub cost_share: Option<f64>,
}

/// A way of deciding, beside what needs no look at what is asked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tried {
    /// What came of it.
    #[serde(flatten)]
    pub worth: Worth,
    /// The mean score of weak and strong mixed by chance, so that they cost the same; where no mix does, of the nearest one.
    pub random_at_equal_cost: f64,
    /// The same where the longest prompts go to the strong one.
    pub length_at_equal_cost: f64,
    /// The share of questions that went to each model.
    #[serde(skip)]
    pub shares: Vec<f64>,
}

/// All ways of deciding over the same questions.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Questions that are counted.
    pub counted: usize,
    /// Questions that are not, since a model that was chosen was not asked, or one of the ends.
    pub unanswered: usize,
    /// The weak model for everything.
    pub always_weak: Worth,
    /// The strong model for everything.
    pub always_strong: Worth,
    /// The cheapest of each question's best models.
    pub oracle: Worth,
    /// By way of deciding.
    pub tried: Vec<Tried>,
    /// The longest prompts to the strong model: none, a tenth, … all.
    pub length: Vec<Worth>,
}

/// Tenths of the questions in the curve of length.
const TENTHS: usize = 10;

/// The model with the best mean score and the one with the least mean cost, of those that were asked at least half of the questions
/// (where there are such). `None` where nobody was asked anything.
#[must_use]
pub fn ends(questions: &[Question]) -> Option<Ends> {
    let models = questions.first()?.answers.len();
    let of = |model: usize| {
        let given = || questions.iter().filter_map(move |q| q.answers[model]);
        let often = given().count() * 2 >= questions.len();
        let figures = (
            mean(given().map(|a| a.score)),
            mean(given().map(|a| a.cost)),
        );
        given().next().map(|_| (model, often, figures))
    };
    let known: Vec<_> = (0..models).filter_map(of).collect();
    let often = known.iter().any(|(_, often, _)| *often);
    let known = || known.iter().filter(|(_, o, _)| *o || !often);
    let weak = known().min_by(|(.., a), (.., b)| a.1.total_cmp(&b.1).then(b.0.total_cmp(&a.0)))?;
    let strong =
        known().min_by(|(.., a), (.., b)| b.0.total_cmp(&a.0).then(a.1.total_cmp(&b.1)))?;
    Some(Ends {
        weak: weak.0,
        strong: strong.0,
    })
}

/// A question with the answers that every line of the report needs.
struct Counted<'a> {
    question: &'a Question,
    weak: Answer,
    strong: Answer,
    choices: Vec<Choice>,
}

impl Counted<'_> {
    fn of(question: &Question, ends: Ends) -> Option<Counted<'_>> {
        Some(Counted {
            question,
            weak: question.answers[ends.weak]?,
            strong: question.answers[ends.strong]?,
            choices: question.choices.iter().copied().collect::<Option<_>>()?,
        })
    }

    /// The cheapest of the best answers.
    fn best(&self) -> Answer {
        let answers = self.question.answers.iter().flatten();
        let better = |a: &&Answer, b: &&Answer| {
            let by_score = b.score.total_cmp(&a.score);
            by_score.then(a.cost.total_cmp(&b.cost))
        };
        answers.min_by(better).copied().unwrap_or(self.strong)
    }
}

/// What every way of deciding was worth; `None` where no question can be counted.
#[must_use]
pub fn report(questions: &[Question], ends: Ends) -> Option<Report> {
    let counted: Vec<Counted<'_>> = questions
        .iter()
        .filter_map(|q| Counted::of(q, ends))
        .collect();
    let ways = counted.first()?.choices.len();
    let strong = means(counted.iter().map(|q| q.strong));
    let worth = |answers: Answer| against(answers, strong);
    let mixed = Mixed::of(&counted);
    let tried = |way: usize| {
        let chosen = means(counted.iter().map(|q| q.choices[way].answer));
        let share = |model| mean(counted.iter().map(|q| is(q.choices[way].model == model)));
        Tried {
            worth: worth(chosen),
            random_at_equal_cost: mixed.random(chosen.cost),
            length_at_equal_cost: mixed.length(chosen.cost),
            shares: (0..counted[0].question.answers.len()).map(share).collect(),
        }
    };
    Some(Report {
        counted: counted.len(),
        unanswered: questions.len() - counted.len(),
        always_weak: worth(means(counted.iter().map(|q| q.weak))),
        always_strong: worth(strong),
        oracle: worth(means(counted.iter().map(Counted::best))),
        tried: (0..ways).map(tried).collect(),
        length: (0..=TENTHS).map(|n| worth(mixed.longest(n))).collect(),
    })
}

/// Several reports as one, in which each counts the same whatever number of questions it has. `None` of nothing.
#[must_use]
pub fn pooled(reports: &[&Report]) -> Option<Report> {
    let first = reports.first()?;
    let over = |of: &dyn Fn(&Report) -> f64| mean(reports.iter().map(|r| of(r)));
    let worth = |of: &dyn Fn(&Report) -> Worth| {
        let all = || reports.iter().map(|r| of(r));
        let shares = |share: fn(Worth) -> Option<f64>| all().map(share).collect::<Option<Vec<_>>>();
        Worth {
            quality: mean(all().map(|w| w.quality)),
            quality_share: shares(|w| w.quality_share).map(mean),
            cost_usd: mean(all().map(|w| w.cost_usd)),
            cost_share: shares(|w| w.cost_share).map(mean),
        }
    };
    let tried = |way: usize| Tried {
        worth: worth(&|r| r.tried[way].worth),
        random_at_equal_cost: over(&|r| r.tried[way].random_at_equal_cost),
        length_at_equal_cost: over(&|r| r.tried[way].length_at_equal_cost),
        shares: (0..first.tried[way].shares.len())
            .map(|model| over(&|r| r.tried[way].shares[model]))
            .collect(),
    };
    Some(Report {
        counted: reports.iter().map(|r| r.counted).sum(),
        unanswered: reports.iter().map(|r| r.unanswered).sum(),
        always_weak: worth(&|r| r.always_weak),
        always_strong: worth(&|r| r.always_strong),
        oracle: worth(&|r| r.oracle),
        tried: (0..first.tried.len()).map(tried).collect(),
        length: (0..first.length.len())
            .map(|n| worth(&|r| r.length[n]))
            .collect(),
    })
}

/// The place of the cheapest way of deciding that keeps this part of always-strong's quality; `None` where none does.
#[must_use]
pub fn cheapest_that_keeps(tried: &[Tried], part: f64) -> Option<usize> {
    let keeps = |t: &&(usize, &Tried)| t.1.worth.quality_share.is_some_and(|share| share >= part);
    let all: Vec<_> = tried.iter().enumerate().collect();
    let cheapest = all.iter().filter(keeps).min_by(|a, b| {
        let cost = |t: &Tried| t.worth.cost_usd;
        cost(a.1).total_cmp(&cost(b.1))
    });
    cheapest.map(|(at, _)| *at)
}

/// Weak and strong answers, those to the longest prompts first.
struct Mixed {
    pairs: Vec<(Answer, Answer)>,
}

impl Mixed {
    fn of(counted: &[Counted<'_>]) -> Mixed {
        let mut longest: Vec<&Counted<'_>> = counted.iter().collect();
        longest.sort_by_key(|q| std::cmp::Reverse(q.question.chars));
        Mixed {
            pairs: longest.iter().map(|q| (q.weak, q.strong)).collect(),
        }
    }

    /// The quality of a mix by chance at this mean cost.
    fn random(&self, cost: f64) -> f64 {
        let weak = means(self.pairs.iter().map(|(weak, _)| *weak));
        let strong = means(self.pairs.iter().map(|(_, strong)| *strong));
        let share = part(cost - weak.cost, strong.cost - weak.cost);
        weak.score + share * (strong.score - weak.score)
    }

    /// The quality where the longest prompts go to the strong model until this mean cost is reached; of the prompt at which it is, a part.
    fn length(&self, cost: f64) -> f64 {
        let all = self.pairs.len() as f64;
        let sum = |of: fn(&Answer) -> f64| self.pairs.iter().map(|(weak, _)| of(weak)).sum();
        let (mut quality, mut left): (f64, f64) = (sum(|a| a.score), cost * all - sum(|a| a.cost));
        for (weak, strong) in &self.pairs {
            if left <= 0.0 {
                break;
            }
            let share = part(left, strong.cost - weak.cost);
            quality += share * (strong.score - weak.score);
            left -= strong.cost - weak.cost;
        }
        quality / all
    }

    /// So many tenths of the prompts, the longest, to the strong model.
    fn longest(&self, tenths: usize) -> Answer {
        let many = self.pairs.len() * tenths / TENTHS;
        let answer = |(at, (weak, strong)): (usize, &(Answer, Answer))| match at < many {
            true => *strong,
            false => *weak,
        };
        means(self.pairs.iter().enumerate().map(answer))
    }
}

/// How much of the whole this is, 0 to 1; all of what costs nothing.
fn part(of: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (of / whole).clamp(0.0, 1.0)
    } else {
        1.0
    }
}

fn is(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn means(answers: impl Iterator<Item = Answer> + Clone) -> Answer {
    Answer {
        score: mean(answers.clone().map(|a| a.score)),
        cost: mean(answers.map(|a| a.cost)),
    }
}

fn against(answers: Answer, strong: Answer) -> Worth {
    let share = |of: f64, whole: f64| (whole > 0.0).then(|| of / whole);
    Worth {
        quality: answers.score,
        quality_share: share(answers.score, strong.score),
        cost_usd: answers.cost,
        cost_share: share(answers.cost, strong.cost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(score: f64, cost: f64) -> Answer {
        Answer { score, cost }
    }

    /// A weak model that costs 1 and a strong one that costs 5; the choice is the strong one where asked for.
    fn question(chars: usize, weak: f64, strong: f64, to_strong: bool) -> Question {
        let answers = [answer(weak, 1.0), answer(strong, 5.0)];
        let model = usize::from(to_strong);
        Question {
            chars,
            answers: answers.map(Some).to_vec(),
            choices: vec![Some(Choice {
                model,
                answer: answers[model],
            })],
        }
    }

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 1e-9
    }

    #[test]
    fn mixes_of_two_models_cost_what_the_policy_costs() {
        let questions = [
            question(10, 1.0, 1.0, false),
            question(20, 0.0, 1.0, true),
            question(30, 1.0, 0.0, false),
            question(40, 0.0, 1.0, false),
        ];
        let ends = ends(&questions).expect("two models");
        assert_eq!(ends, Ends { weak: 0, strong: 1 });
        let told = report(&questions, ends).expect("questions");
        let tried = &told.tried[0];
        assert!(near(tried.worth.quality, 0.75) && near(tried.worth.cost_usd, 2.0));
        // A quarter of the way from .5 to .75; the longest prompt is the one of 40 characters, which the strong model gets right.
        assert!(near(tried.random_at_equal_cost, 0.5625), "{tried:?}");
        assert!(near(tried.length_at_equal_cost, 0.75), "{tried:?}");
        assert_eq!(tried.shares, [0.75, 0.25]);
        assert!(near(told.oracle.quality, 1.0) && near(told.oracle.cost_usd, 3.0));
        assert_eq!(cheapest_that_keeps(&told.tried, 0.95), Some(0));
        assert_eq!(cheapest_that_keeps(&told.tried, 1.01), None);
    }

    #[test]
    fn a_question_that_a_chosen_model_was_not_asked_is_not_counted() {
        let mut unanswered = question(10, 1.0, 1.0, true);
        unanswered.choices = vec![None];
        let questions = [question(10, 0.0, 1.0, true), unanswered];
        let ends = ends(&questions).expect("two models");
        let told = report(&questions, ends).expect("a question");
        assert_eq!((told.counted, told.unanswered), (1, 1));
    }

    #[test]
    fn pooled_sources_count_the_same() {
        let of = |questions: &[Question]| {
            let ends = Ends { weak: 0, strong: 1 };
            report(questions, ends).expect("questions")
        };
        let one = of(&[question(1, 0.0, 1.0, true)]);
        let many = of(&vec![question(1, 0.5, 1.0, false); 9]);
        let told = pooled(&[&one, &many]).expect("two");
        assert!(near(told.tried[0].worth.quality, 0.75));
        assert!(near(told.tried[0].worth.cost_share.expect("it costs"), 0.6));
        assert_eq!(told.counted, 10);
    }
}

//! What the words say: cues for each task near either end, and how often each class of words occurs.

use super::{Signal, near, of, share_of};
use crate::classify::lexicon::Class;

pub(super) static SIGNALS: &[Signal] = &[
    near(
        "cue_summarise",
        "words that ask for a summary, near either end",
        Class::Summarise,
    ),
    near(
        "cue_translate",
        "words that ask for a translation, near either end",
        Class::Translate,
    ),
    near(
        "cue_creative",
        "words that ask for a text to be made up, near either end",
        Class::Creative,
    ),
    near(
        "cue_simple_question",
        "words that begin a question of knowledge, near either end",
        Class::SimpleQuestion,
    ),
    near(
        "cue_extract",
        "words that ask to find or classify, near either end",
        Class::Extract,
    ),
    near(
        "cue_code",
        "words that ask for a program, near either end",
        Class::Code,
    ),
    near(
        "cue_debug",
        "words that are about something that fails, near either end",
        Class::Debug,
    ),
    near(
        "cue_maths",
        "words that ask to calculate or prove, near either end",
        Class::Maths,
    ),
    near(
        "cue_logic",
        "words that are of puzzles and conclusions, near either end",
        Class::Logic,
    ),
    near(
        "cue_multi_step",
        "words that are of plans, designs and comparisons, near either end",
        Class::MultiStep,
    ),
    share_of(
        "negation_share",
        "words that negate, among words",
        Class::Negation,
    ),
    share_of(
        "quantifier_share",
        "words that say how many of a kind, among words",
        Class::Quantifier,
    ),
    share_of(
        "conditional_share",
        "words that set conditions, among words",
        Class::Conditional,
    ),
    share_of(
        "comparison_share",
        "words that compare or place, among words",
        Class::Comparison,
    ),
    share_of(
        "sequence_share",
        "words that put in order, among words",
        Class::Sequence,
    ),
    share_of(
        "time_share",
        "words that tell times and dates, among words",
        Class::Time,
    ),
    share_of(
        "format_share",
        "words that say how the answer must look, among words",
        Class::Format,
    ),
    share_of(
        "example_share",
        "words that announce examples, among words",
        Class::Example,
    ),
    share_of(
        "constraint_share",
        "words that constrain, among words",
        Class::Constraint,
    ),
    share_of(
        "connective_share",
        "words that connect statements, among words",
        Class::Connective,
    ),
    share_of(
        "number_word_share",
        "words that are numbers, among words",
        Class::NumberWord,
    ),
    share_of(
        "claim_share",
        "words that report what somebody says, among words",
        Class::Claim,
    ),
    share_of(
        "unit_share",
        "words that are units and money, among words",
        Class::Unit,
    ),
    share_of(
        "grid_share",
        "words that are of grids and boards, among words",
        Class::Grid,
    ),
    share_of(
        "text_share",
        "words that are of letters and strings, among words",
        Class::Text,
    ),
    share_of(
        "graph_share",
        "words that are of graphs and paths, among words",
        Class::Graph,
    ),
    share_of(
        "list_share",
        "words that are of lists and counting, among words",
        Class::List,
    ),
    share_of(
        "game_share",
        "words that are of games, among words",
        Class::Game,
    ),
    share_of(
        "person_share",
        "words that are people and kin, among words",
        Class::Person,
    ),
    share_of(
        "science_share",
        "words that are of natural science, among words",
        Class::Science,
    ),
    share_of(
        "society_share",
        "words that are of law, trade and society, among words",
        Class::Society,
    ),
    share_of(
        "culture_share",
        "words that are of films, songs and sport, among words",
        Class::Culture,
    ),
    share_of(
        "keyword_share",
        "words that are reserved in programming languages, among words",
        Class::Keyword,
    ),
    share_of(
        "explain_share",
        "words that ask for an explanation, among words",
        Class::Explain,
    ),
    share_of(
        "rule_share",
        "words that are of rules and operations, among words",
        Class::Rule,
    ),
    share_of(
        "choice_share",
        "words that offer a choice, among words",
        Class::Choice,
    ),
    near(
        "near_negation",
        "words that negate, near either end",
        Class::Negation,
    ),
    near(
        "near_quantifier",
        "words that say how many of a kind, near either end",
        Class::Quantifier,
    ),
    near(
        "near_conditional",
        "words that set conditions, near either end",
        Class::Conditional,
    ),
    near(
        "near_comparison",
        "words that compare or place, near either end",
        Class::Comparison,
    ),
    near(
        "near_sequence",
        "words that put in order, near either end",
        Class::Sequence,
    ),
    near(
        "near_time",
        "words that tell times and dates, near either end",
        Class::Time,
    ),
    near(
        "near_format",
        "words that say how the answer must look, near either end",
        Class::Format,
    ),
    near(
        "near_example",
        "words that announce examples, near either end",
        Class::Example,
    ),
    near(
        "near_constraint",
        "words that constrain, near either end",
        Class::Constraint,
    ),
    near(
        "near_claim",
        "words that report what somebody says, near either end",
        Class::Claim,
    ),
    near(
        "near_grid",
        "words that are of grids and boards, near either end",
        Class::Grid,
    ),
    near(
        "near_text",
        "words that are of letters and strings, near either end",
        Class::Text,
    ),
    near(
        "near_graph",
        "words that are of graphs and paths, near either end",
        Class::Graph,
    ),
    near(
        "near_list",
        "words that are of lists and counting, near either end",
        Class::List,
    ),
    near(
        "near_game",
        "words that are of games, near either end",
        Class::Game,
    ),
    near(
        "near_person",
        "words that are people and kin, near either end",
        Class::Person,
    ),
    near(
        "near_explain",
        "words that ask for an explanation, near either end",
        Class::Explain,
    ),
    near(
        "near_rule",
        "words that are of rules and operations, near either end",
        Class::Rule,
    ),
    of("first_question", "the first word is one of these", |a| {
        f32::from(u8::from(a.first[Class::SimpleQuestion.index()]))
    }),
    of("first_explain", "the first word is one of these", |a| {
        f32::from(u8::from(a.first[Class::Explain.index()]))
    }),
    of("first_format", "the first word is one of these", |a| {
        f32::from(u8::from(a.first[Class::Format.index()]))
    }),
    of("first_conditional", "the first word is one of these", |a| {
        f32::from(u8::from(a.first[Class::Conditional.index()]))
    }),
];

//! Which top-level fields of a Chat Completions request have a cost that the token limit bounds.

use crate::dialect::body;
use crate::dialect::lenient::Text;
use crate::json::Object;

/// The fields that cost nothing beyond the tokens they lead to: those of OpenAI's own reference, and
/// the sampling and template settings of llama.cpp, vLLM, Mistral, Groq, DeepSeek and OpenRouter. Sorted.
///
/// Left out on purpose: other spellings of a limit (`n_predict`, `num_predict`, `options`,
/// `max_output_tokens`, `best_of`), thinking that some vendor bills past the limit (`thinking_budget`,
/// `enable_thinking`), and everything that may choose another model or start a paid service
/// (`models`, `plugins`, `preset`, `provider`, `transforms`, `web_search_options`).
const BOUNDED: &[&str] = &[
    "cache_prompt",
    "chat_template_kwargs",
    "clear_thinking",
    "dry_allowed_length",
    "dry_base",
    "dry_multiplier",
    "dry_penalty_last_n",
    "dry_sequence_breakers",
    "dynatemp_exponent",
    "dynatemp_range",
    "frequency_penalty",
    "function_call",
    "functions",
    "grammar",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "id_slot",
    "ignore_eos",
    "include_reasoning",
    "include_stop_str_in_output",
    "json_schema",
    "length_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "metadata",
    "min_keep",
    "min_p",
    "min_tokens",
    "mirostat",
    "mirostat_eta",
    "mirostat_tau",
    "model",
    "n",
    "n_probs",
    "parallel_tool_calls",
    "post_sampling_probs",
    "presence_penalty",
    "prompt_cache_key",
    "random_seed",
    "reasoning",
    "reasoning_effort",
    "reasoning_format",
    "repeat_last_n",
    "repeat_penalty",
    "repetition_penalty",
    "response_fields",
    "response_format",
    "return_progress",
    "safety_identifier",
    "samplers",
    "seed",
    "skip_special_tokens",
    "spaces_between_special_tokens",
    "stop",
    "stop_token_ids",
    "store",
    "stream",
    "stream_options",
    "structured_outputs",
    "t_max_predict_ms",
    "temperature",
    "tfs_z",
    "thinking",
    "timings_per_token",
    "tool_choice",
    "tools",
    "top_a",
    "top_k",
    "top_logprobs",
    "top_n_sigma",
    "top_p",
    "typical_p",
    "usage",
    "user",
    "verbosity",
    "xtc_probability",
    "xtc_threshold",
];

/// Names every top-level field whose cost has no bound.
pub(super) fn unbounded(fields: &Object<'_>, list: &mut Vec<String>) {
    for (key, raw) in fields.iter().filter(|(_, raw)| *raw != "null") {
        let bounded = match key {
            // Checked against the prices that there are.
            "service_tier" => true,
            // 24h: OpenAI bills a 12-hour cache write at twice the price and does not tell it apart here.
            "prompt_cache_retention" => body::is_one_of(raw, &["in_memory", "in-memory"]),
            "modalities" => serde_json::from_str::<Vec<Text<'_>>>(raw)
                .is_ok_and(|all| all.iter().all(|m| m.text() == Some("text"))),
            _ => BOUNDED.binary_search(&key).is_ok(),
        };
        if !bounded {
            body::unbounded(list, || body::shown(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounded_fields_are_sorted_so_that_all_of_them_are_found() {
        assert!(BOUNDED.is_sorted());
        assert!(BOUNDED.iter().all(|key| BOUNDED.binary_search(key).is_ok()));
    }
}

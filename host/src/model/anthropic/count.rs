//! Asks the API how many tokens a prompt has.

use bytes::Bytes;

use crate::json_text::{Json, object};
use crate::model::exchange::status_error;
use crate::model::http::HttpClient;
use crate::model::{ModelError, PreparedRequest};

/// The path below that of messages.
const COUNT_TOKENS: &str = "count_tokens";

/// The fields of a request that say how to answer. A request to count has none of them.
const OF_ANSWERS: [&str; 3] = ["max_tokens", "stream", "temperature"];

/// Bytes of the answer, which is a number and little else.
const MAX_COUNT_BYTES: usize = 64 * 1024;

/// The tokens of a request's prompt. `None` if the answer has no count: another server may not know the question.
pub(super) async fn prompt_tokens(http: &HttpClient, request: &PreparedRequest<'_>) -> Result<Option<u64>, ModelError> {
    let Some(question) = question(&request.body) else {
        return Ok(None);
    };
    let reply = http.post_below(COUNT_TOKENS, question, &request.headers).await?;
    if !reply.is_success() {
        return Err(status_error(reply.refusal().await));
    }
    let answer = reply.whole_within(MAX_COUNT_BYTES).await?;
    let answer = std::str::from_utf8(&answer).unwrap_or_default();
    let answer = Json::parse(answer).ok();
    Ok(answer.and_then(|answer| answer.field("input_tokens")?.integer()))
}

/// The same prompt, without what says how to answer.
fn question(body: &[u8]) -> Option<Bytes> {
    let body = Json::parse(std::str::from_utf8(body).ok()?).ok()?;
    let of_prompt = body
        .fields()
        .filter(|field| !OF_ANSWERS.iter().any(|name| field.is(name)));
    Some(object(of_prompt).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_question_has_the_prompt_alone() {
        let body = br#"{"model":"m","max_tokens":16,"stream":true,"temperature":0.5,"system":"s","messages":[{"max_tokens":1}]}"#;
        assert_eq!(
            question(body).unwrap(),
            &br#"{"model":"m","system":"s","messages":[{"max_tokens":1}]}"#[..]
        );
        assert_eq!(question(b"\xff"), None);
    }
}

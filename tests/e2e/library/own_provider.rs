//! A model that the program brings along.

use std::sync::Arc;

use cofferdam::agent::RunOptions;
use cofferdam::assembly::HostError;
use cofferdam::events::{Ending, Usage};
use cofferdam::model::{
    BoxFuture, Effort, ModelError, ModelRequest, ModelResponse, PreparedRequest, Prices, Progress, Provider, StopReason,
};
use cofferdam::simulator::Answer;
use cofferdam::transcript::Block;

use super::{builder_with, model};

/// A model with an id.
#[derive(Debug)]
struct InHouse(&'static str);

const CONFIGURED: &str = "claude-sonnet-5-5";

impl Provider for InHouse {
    fn model(&self) -> &str {
        self.0
    }

    fn endpoint(&self) -> String {
        "in-house".to_owned()
    }

    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError> {
        Ok(PreparedRequest::new(request, b"a request".to_vec().into()))
    }

    fn attempt<'a>(
        &'a self,
        _: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        Box::pin(async move {
            progress.begin();
            let usage = Usage {
                input_tokens: 10,
                output_tokens: 5,
                ..Usage::default()
            };
            progress.final_usage(usage);
            Ok(ModelResponse {
                model: self.model().to_owned(),
                content: vec![Block::text("in-house")],
                stop_reason: StopReason::EndTurn,
                refusal: None,
                usage,
                request_id: None,
            })
        })
    }
}

/// Whose conversations are meant for it may not want another to read them.
#[tokio::test]
async fn no_other_model_gets_what_is_meant_for_it() {
    let vendor = model([Answer::text("the vendor").forever()]);
    let host = builder_with(&vendor, |config| config.model.effort = Some(Effort::High));
    let host = host.provider(Arc::new(InHouse(CONFIGURED))).build().await.unwrap();
    let mut session = host.session();
    let answer = session.run("A secret.", RunOptions::default()).await.answer;
    assert_eq!(answer, "in-house");

    let same = host.with_model(CONFIGURED).await.unwrap();
    same.take_over(&mut session);
    assert_eq!(session.run("And now?", RunOptions::default()).await.answer, "in-house");
    for host in [&host, &same] {
        let error = host.with_model("claude-haiku-5-5").await.unwrap_err();
        assert!(matches!(error, HostError::NoProvider { .. }), "{error}");
    }
    host.check_capabilities().await.unwrap();
    assert_eq!(vendor.requests().len(), 0);
}

/// A price that nobody else knows.
#[tokio::test]
async fn it_has_a_price_of_the_programs_own() {
    let vendor = model([Answer::text("the vendor").forever()]);
    let prices = Prices::parse("our-model = [{ input = 10, output = 20 }]").unwrap();
    let host = builder_with(&vendor, |_| ()).prices(prices);
    let host = host.provider(Arc::new(InHouse("our-model"))).build().await.unwrap();
    assert!(host.price().is_some());
    let report = host.session().run("Go.", RunOptions::default()).await;
    assert_eq!(report.outcome, Ending::Completed, "{:?}", report.error);
    // 10 tokens at $10 a million and 5 at $20.
    assert_eq!(report.metrics.estimated_cost_usd.to_string(), "0.000200");
}

/// One with a bug. Where it panics: while it serialises, before its attempt is awaited, or in it.
#[derive(Debug)]
struct Broken(&'static str);

impl Provider for Broken {
    fn model(&self) -> &str {
        CONFIGURED
    }

    fn endpoint(&self) -> String {
        "in-house".to_owned()
    }

    fn prepare<'a>(&self, request: &'a ModelRequest<'a>) -> Result<PreparedRequest<'a>, ModelError> {
        assert_ne!(self.0, "prepare");
        InHouse(CONFIGURED).prepare(request)
    }

    fn attempt<'a>(
        &'a self,
        _: &'a PreparedRequest<'a>,
        progress: &'a Progress<'a>,
    ) -> BoxFuture<'a, Result<ModelResponse, ModelError>> {
        assert_ne!(self.0, "attempt");
        Box::pin(async move {
            progress.text("Half");
            panic!("a bug of the program")
        })
    }
}

#[tokio::test]
async fn its_panic_fails_the_attempt_and_a_fallback_answers() {
    let vendor = model([Answer::text("the fallback").forever()]);
    for place in ["prepare", "attempt", "answer"] {
        for with_fallback in [false, true] {
            // The configured model itself can stand in for it.
            let host = builder_with(&vendor, |config| {
                config.fallback_models = with_fallback.then(|| config.model.clone()).into_iter().collect();
            });
            let host = host.provider(Arc::new(Broken(place))).build().await.unwrap();
            let options = RunOptions {
                streams_to_user: false,
                ..RunOptions::default()
            };
            let report = host.session().run("Go.", options).await;
            match with_fallback {
                true => assert_eq!(report.answer, "the fallback", "{place}: {report:?}"),
                false => {
                    let error = report.error.unwrap();
                    assert_eq!(error.kind, "provider_failed", "{place}");
                    assert!(error.message.contains("it panicked: "), "{place}: {}", error.message);
                }
            }
            let rows = host.ledger().export(None).await.unwrap();
            assert!(rows.iter().all(|row| row.closed_at.is_some()), "{place}: {rows:?}");
            // What had begun is charged in full, because nobody knows what it cost.
            let in_full = rows.iter().filter(|row| row.spent_usd == Some(row.reserved_usd));
            let expected = usize::from(place != "prepare");
            assert_eq!(in_full.count(), expected, "{place}: {rows:?}");
        }
    }
}

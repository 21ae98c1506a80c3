//! The product: schema, policy, breaker, concurrency, timeslices, sandbox, conversion, event.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cofferdam::assembly::load_tools;
use cofferdam::config::Config;
use cofferdam::events::Outcome;
use cofferdam::resilience::BreakerSettings;
use cofferdam::sandbox::{CompilePlace, EngineSettings, Grants, Halt, Limits, Plugin, Sandbox};
use cofferdam::telemetry::{AlertSettings, Emitter, EventBus};
use cofferdam::tools::{ComponentSource, PluginSettings, ToolCall, ToolContext, ToolSet, builtin};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{PLUGIN, resident_kib, settled_resident_kib};

/// Calls a plugin the way an agent does.
pub struct Dispatch {
    tools: ToolSet,
    bus: EventBus,
}

impl Dispatch {
    pub async fn new(bus: &EventBus, plugin: &str, limits: Limits) -> Self {
        Self::with(bus, plugin, limits, |_| ()).await
    }

    pub async fn with(bus: &EventBus, plugin: &str, limits: Limits, change: impl FnOnce(&mut Config)) -> Self {
        let grants = Grants {
            limits,
            ..Grants::default()
        };
        let mut config = Config {
            plugins: vec![PluginSettings {
                grants,
                // Some benchmarks kill calls by the dozen, which must not open the breaker.
                breaker: BreakerSettings {
                    failure_threshold: 1_000_000,
                    ..BreakerSettings::default()
                },
                ..PluginSettings::new(plugin, ComponentSource::Builtin(plugin.to_owned()))
            }],
            ..Config::default()
        };
        change(&mut config);
        let tls = cofferdam::tls::client_config().unwrap();
        let tools = load_tools(&config, Some(CompilePlace::ThisProcess), tls).await.unwrap();
        Self {
            tools,
            bus: bus.clone(),
        }
    }

    /// The component of a file, with its compiled form in a cache that is kept.
    pub async fn of_file(bus: &EventBus, component: &Path, cache: &Path, limits: Limits) -> Self {
        let source = ComponentSource::Path(component.to_owned());
        Self::with(bus, PLUGIN, limits, |config| {
            let grants = config.plugins[0].grants.clone();
            config.engine.host_concurrency = config.engine.host_concurrency.max(grants.limits.concurrency);
            config.engine.cache_dir = Some(cache.to_owned());
            config.plugins = vec![PluginSettings {
                grants,
                ..PluginSettings::new("probe", source)
            }];
        })
        .await
    }

    /// An emitter for calls, to be reused across them.
    pub fn emitter(&self, tenant: &str) -> Emitter {
        Emitter::new(&self.bus, "bench", tenant, AlertSettings::default())
    }

    pub async fn call(&self, emitter: &Emitter, tool: &str, input: Value, cancel: &CancellationToken) -> Outcome {
        let context = ToolContext {
            emitter,
            deadline: tokio::time::Instant::now() + Duration::from_secs(3_600),
            cancel,
        };
        let call = ToolCall {
            id: "toolu_1".to_owned(),
            name: tool.to_owned(),
            input: input.into(),
        };
        self.tools.call(call, &context).await.outcome
    }

    /// Resident KiB for each of `count` calls that are alive at once. The tool mustn't return by itself.
    pub async fn live_kib(self: &Arc<Self>, tool: &'static str, input: Value, count: u32) -> f64 {
        let cancel = CancellationToken::new();
        let before = resident_kib();
        let calls: Vec<_> = (0..count)
            .map(|_| {
                let (host, input, cancel) = (self.clone(), input.clone(), cancel.clone());
                tokio::spawn(async move {
                    let emitter = host.emitter("default");
                    host.call(&emitter, tool, input, &cancel).await
                })
            })
            .collect();
        // All of them are alive when memory stops growing.
        let alive = settled_resident_kib().await;
        cancel.cancel();
        for call in calls {
            assert_eq!(call.await.unwrap(), Outcome::Cancelled, "all of them were alive");
        }
        (alive - before) / f64::from(count)
    }
}

/// The sandbox alone, without schema, policy, breaker and concurrency limits.
pub struct Sandboxed {
    plugin: Plugin,
    tenant: Arc<str>,
    /// The run's, which its calls share.
    cancel: CancellationToken,
}

impl Sandboxed {
    pub async fn new(plugin: &str) -> Self {
        let limits = Limits::default();
        let tls = cofferdam::tls::client_config().unwrap();
        let sandbox = Sandbox::new(&EngineSettings::default(), [&limits], CompilePlace::ThisProcess, tls).unwrap();
        let bytes = builtin(plugin).unwrap();
        let plugin = sandbox.load(plugin, bytes, &Grants::default(), None).await.unwrap();
        Self {
            plugin,
            tenant: "default".into(),
            cancel: CancellationToken::new(),
        }
    }

    pub async fn call(&self, tool: &str, input: &str) {
        let halt = Halt {
            deadline: tokio::time::Instant::now() + Duration::from_secs(60),
            cancel: &self.cancel,
        };
        let (result, _) = self.plugin.call(&self.tenant, tool, input, halt).await;
        assert!(result.is_ok(), "{result:?}");
    }
}

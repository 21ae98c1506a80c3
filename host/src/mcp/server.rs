//! Answers a client's requests: lists the tools and calls them.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CustomRequest, CustomResult, ErrorCode, Implementation, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, RequestContext, SubscriptionContext};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::arrival::{Arrival, Calls, MAX_CALLS_PER_CLIENT};
use super::{convert, fault, progress};
use crate::events::Outcome;
use crate::telemetry::{AlertSettings, Emitter, EventBus};
use crate::tools::{Part, ToolCall, ToolContext, ToolSet};

/// Serves the tools of a host. Cheap to clone.
#[derive(Clone, Debug)]
pub struct McpServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    tools: watch::Receiver<Arc<ToolSet>>,
    listed: Mutex<Listed>,
    events: EventBus,
    alerts: AlertSettings,
    tenant: String,
    deadline: Duration,
}

/// The list of tools that was looked at last, and how many different ones came before it.
#[derive(Debug, Default)]
struct Listed {
    tools: Weak<ToolSet>,
    /// Of the list, because it can have a megabyte.
    hash: u64,
    version: u64,
}

impl Shared {
    /// The tools, and the version of their list, which grows whenever another list is seen than before.
    ///
    /// It grows here, where every list passes that a client gets. A task that only watches for new tools can miss a list that is
    /// there for a moment, and a client that read it would never hear that it is gone. A set with another component and the same
    /// list has the same version.
    fn current(&self) -> (Arc<ToolSet>, u64) {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let tools = self.tools.borrow().clone();
        if !std::ptr::eq(listed.tools.as_ptr(), Arc::as_ptr(&tools)) {
            listed.tools = Arc::downgrade(&tools);
            let hash = hash(&tools);
            if std::mem::replace(&mut listed.hash, hash) != hash {
                listed.version += 1;
            }
        }
        (tools, listed.version)
    }
}

impl McpServer {
    /// Serves what `tools` holds. After a new set is sent, calls use it, and clients are notified if it is listed differently;
    /// calls that run already keep the old one. Calls count for `tenant`. `deadline` bounds one call with its wait and its retries, beside the tool's own
    /// time-out.
    pub fn new(
        tools: watch::Receiver<Arc<ToolSet>>,
        events: EventBus,
        alerts: AlertSettings,
        tenant: &str,
        deadline: Duration,
    ) -> Self {
        let shared = Shared {
            tools,
            listed: Mutex::default(),
            events,
            alerts,
            tenant: tenant.to_owned(),
            deadline,
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// A scope of events of its own for one connection, or for one request over HTTP, which has no connections that last.
    /// `stopping` ends what would otherwise never end.
    pub(super) fn connection(&self, lasting: bool, stopping: CancellationToken) -> Connection {
        let shared = Arc::clone(&self.shared);
        let id = uuid::Uuid::now_v7().to_string();
        Connection {
            emitter: Emitter::new(&shared.events, &id, &shared.tenant, shared.alerts.clone()),
            lasting,
            notifying: AtomicBool::new(false),
            stopping,
            version: shared.current().1,
            shared,
        }
    }
}

/// One client over stdin and stdout, or one request over HTTP.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    emitter: Emitter,
    /// Whether the client can be sent a notification at any time.
    lasting: bool,
    /// Whether it is already notified of changes, because clients may say more than once that they are ready.
    notifying: AtomicBool,
    /// The server is about to stop. Calls may still end.
    stopping: CancellationToken,
    /// The version of the list when the connection began. The client has seen no older one.
    version: u64,
}

impl Connection {
    fn changes(&self) -> Changes {
        Changes {
            shared: Arc::clone(&self.shared),
            tools: self.shared.tools.clone(),
            announced: self.version,
        }
    }
}

/// The call's place among those of its client. Over stdio it was noted when the line was read. Over HTTP calls have no order,
/// and only the client's count is noted.
fn arrival(context: &RequestContext<RoleServer>) -> Arrival {
    let of_client = || {
        let head = context.extensions.get::<http::request::Parts>()?;
        Some(head.extensions.get::<Calls>()?.arrive())
    };
    let noted = context.extensions.get::<Arrival>().cloned().or_else(of_client);
    // Every way in notes one of them. One that didn't would lose its limit, not its calls.
    noted.unwrap_or_else(|| Calls::default().arrive())
}

impl ServerHandler for Connection {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .build();
        ServerConfig::new(capabilities).with_server_info(Implementation::new("cofferdam", env!("CARGO_PKG_VERSION")))
    }

    /// All tools on one page, always in the same order.
    async fn list_tools(
        &self,
        page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        if page.is_some_and(|page| page.cursor.is_some()) {
            return Err(ErrorData::invalid_params(
                "there is one page, so no cursor is valid",
                None,
            ));
        }
        let (tools, _) = self.shared.current();
        Ok(ListToolsResult::with_all_items(list(&tools)))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(admitted) = arrival(&context).admitted() else {
            return Ok(convert::overloaded(MAX_CALLS_PER_CLIENT).into());
        };
        // A call uses the tools it began with, even if they are replaced meanwhile.
        let tools = self.shared.tools.borrow().clone();
        let call = ToolCall {
            id: uuid::Uuid::now_v7().to_string(),
            name: request.name.into_owned(),
            input: Value::Object(request.arguments.unwrap_or_default()).into(),
        };
        let cx = ToolContext {
            emitter: &self.emitter,
            deadline: Instant::now() + self.shared.deadline,
            cancel: &context.ct,
        };
        // On the heap, because the library moves the future of every request several times.
        let running = Box::pin(tools.call(call, &cx));
        let running = progress::report(context.meta.get_progress_token(), &context.peer, running);
        let result = admitted.run(running).await;
        let revision = context.protocol_version();
        let knows_any = revision.is_some_and(|revision| revision.as_str() >= ProtocolVersion::V_2026_07_28.as_str());
        if result.outcome == Outcome::UnknownTool {
            let text = result.content.iter().filter_map(|part| match part {
                Part::Text { text } => Some(text.as_str()),
                Part::Image { .. } => None,
            });
            return Err(ErrorData::invalid_params(text.collect::<String>(), None));
        }
        Ok(convert::result(result, knows_any).into())
    }

    /// A request that the library doesn't know: of another method, or with other parameters.
    async fn on_custom_request(
        &self,
        request: CustomRequest,
        _context: RequestContext<RoleServer>,
    ) -> Result<CustomResult, ErrorData> {
        let wrong = fault::wrong_params(&request.method, request.params.as_ref());
        Err(wrong.unwrap_or_else(|| ErrorData::new(ErrorCode::METHOD_NOT_FOUND, request.method, None)))
    }

    /// Clients of older revisions get notifications without having asked.
    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if !self.lasting || self.notifying.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut changes = self.changes();
        tokio::spawn(async move {
            while changes.next().await.is_ok() {
                if context.peer.notify_tool_list_changed().await.is_err() {
                    return;
                }
            }
        });
    }

    fn accepted_subscription_filter(&self, _requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let mut changes = self.changes();
        loop {
            tokio::select! {
                () = context.cancelled() => return Ok(()),
                () = self.stopping.cancelled() => return Ok(()),
                changed = changes.next() => match changed {
                    // An error means that the client is gone, which also cancels.
                    Ok(()) => drop(context.sink().notify_tool_list_changed().await),
                    // Nothing replaces the tools any more.
                    Err(_) => {
                        tokio::select! {
                            () = context.cancelled() => {}
                            () = self.stopping.cancelled() => {}
                        }
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// The tools as clients see them, in a fixed order.
fn list(tools: &ToolSet) -> Vec<rmcp::model::Tool> {
    tools.tools().map(convert::tool).collect()
}

fn hash(tools: &ToolSet) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&list(tools))
        .unwrap_or_default()
        .hash(&mut hasher);
    hasher.finish()
}

/// The changes of the list that one client is notified of.
struct Changes {
    shared: Arc<Shared>,
    tools: watch::Receiver<Arc<ToolSet>>,
    announced: u64,
}

impl Changes {
    /// Waits until the list is another one than the client was notified of. An error means that nothing replaces the tools any more.
    async fn next(&mut self) -> Result<(), watch::error::RecvError> {
        loop {
            let (_, version) = self.shared.current();
            if std::mem::replace(&mut self.announced, version) != version {
                return Ok(());
            }
            self.tools.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt as _;

    use super::*;
    use crate::sandbox::{CompilePlace, EngineSettings, Limits, Sandbox};
    use crate::tools::{ComponentSource, PluginSettings};

    const HOUR: Duration = Duration::from_secs(3600);

    /// A list that is read in between is known to somebody, however quickly it changes back.
    #[tokio::test]
    async fn a_list_that_changes_and_changes_back_is_announced_if_it_was_read_in_between() {
        let limits = Limits::default();
        let tls = crate::tls::client_config().unwrap();
        let sandbox = Sandbox::new(&EngineSettings::default(), [&limits], CompilePlace::ThisProcess, tls).unwrap();
        let load =
            async |plugins: &[PluginSettings]| Arc::new(ToolSet::load(&sandbox, plugins, 1, HOUR).await.unwrap());
        let nothing = async || load(&[]).await;
        let source = ComponentSource::Builtin("calculator".to_owned());
        let calculator = load(&[PluginSettings::new("calculator", source)]).await;
        let (sender, receiver) = watch::channel(nothing().await);
        let server = McpServer::new(receiver, EventBus::new(), AlertSettings::default(), "default", HOUR);
        let connection = || server.connection(true, CancellationToken::new());
        let reader = connection();
        let mut changes = reader.changes();
        let mut is_announced = || changes.next().now_or_never().is_some();
        assert!(!is_announced());

        sender.send_replace(Arc::clone(&calculator));
        assert_eq!(reader.shared.current().0.tools().count(), 1, "the client reads it");
        sender.send_replace(nothing().await);
        assert!(is_announced());
        assert!(!is_announced());

        // Nobody has read it.
        sender.send_replace(Arc::clone(&calculator));
        sender.send_replace(nothing().await);
        assert!(!is_announced());
        sender.send_replace(nothing().await);
        assert!(!is_announced(), "the same list");

        // A client reads the list before it says that it is ready to be notified.
        let early = connection();
        sender.send_replace(calculator);
        assert!(early.changes().next().now_or_never().is_some());
        assert!(is_announced());
        drop(sender);
        assert!(changes.next().await.is_err());
    }
}

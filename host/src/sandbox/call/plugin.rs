//! A loaded component, ready to be called any number of times.

use std::sync::Arc;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wasmtime::component::InstancePre;

use super::failure::CallFailure;
use super::halt::Halt;
use super::program::{self, Program};
use super::run::{CallUse, run, run_program};
use super::setup::CallSetup;
use super::state::CallState;
use crate::sandbox::compile::{ComponentError, Digest};
use crate::sandbox::contract::{
    Command, Content, Contract, Entry, ExitMeaning, Function, Indices, MAX_ADAPTED, NotConverted, NotFilled, ToolError,
    ToolInfo, UnusableExport, oversized_arguments, run_to_exit,
};
use crate::sandbox::grants::Effects;
use crate::sandbox::limits::{LimitValue, Limits};
use crate::untrusted::{Untrusted, display_untrusted};

/// Characters of a component's output that the host repeats.
const MAX_ERROR_CHARS: usize = 500;

/// A component that can be called.
#[derive(Clone)]
pub struct Plugin {
    pre: InstancePre<CallState>,
    /// All ways in which the component is tools: the operator's description of its program, its functions, its own list. A tool
    /// that two of them have is called in the first.
    contracts: Vec<Contract>,
    setup: CallSetup,
    digest: Digest,
}

impl std::fmt::Debug for Plugin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plugin")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Plugin {
    pub(in crate::sandbox) fn new(
        pre: InstancePre<CallState>,
        contracts: Vec<Contract>,
        setup: CallSetup,
        digest: Digest,
    ) -> Self {
        Self {
            pre,
            contracts,
            setup,
            digest,
        }
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    pub fn limits(&self) -> &Limits {
        self.setup.limits()
    }

    /// What its calls can do outside of the host.
    pub fn effects(&self) -> Effects {
        self.setup.grants.effects()
    }

    /// What it is granted, a line each.
    pub fn grants_in_words(&self) -> Vec<String> {
        self.setup.grants.in_words()
    }

    /// The component's tools. Asks the component for those that it lists itself, under the limits of a call.
    ///
    /// # Errors
    ///
    /// [`ComponentError::ListTools`] for every failure.
    pub async fn list_tools(&self) -> Result<Vec<ToolInfo>, ComponentError> {
        let mut tools: Vec<ToolInfo> = Vec::new();
        for contract in &self.contracts {
            let of_contract = match contract {
                Contract::Command(command, _) => vec![command.info()],
                Contract::Dynamic(indices) => self.listed(indices).await?,
                Contract::Typed(typed) => typed.tools().collect(),
            };
            // A call finds its contract by the name of the tool.
            if let Some(Contract::Command(command, _)) = self.contracts.first()
                && !tools.is_empty()
                && of_contract.iter().any(|tool| tool.name.raw() == command.name)
            {
                return Err(ComponentError::CommandNameTaken(command.name.clone()));
            }
            tools.extend(of_contract);
        }
        Ok(tools.into_iter().map(|tool| self.masked_info(tool)).collect())
    }

    /// The exported functions that can't be tools.
    pub fn unusable_exports(&self) -> impl Iterator<Item = &UnusableExport> {
        self.contracts.iter().flat_map(|contract| match contract {
            Contract::Dynamic(_) | Contract::Command(..) => &[],
            Contract::Typed(typed) => typed.unusable(),
        })
    }

    /// What the component's tools lack without being unusable, in words for the operator.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        let warnings = self.contracts.iter().flat_map(|contract| match contract {
            Contract::Dynamic(_) | Contract::Command(..) => &[],
            Contract::Typed(typed) => typed.warnings(),
        });
        warnings.map(String::as_str)
    }

    async fn listed(&self, indices: &Indices) -> Result<Vec<ToolInfo>, ComponentError> {
        let halt = Halt {
            deadline: Instant::now() + self.limits().timeout,
            cancel: &CancellationToken::new(),
        };
        let load = |store: &mut _, instance: &_| indices.load(store, instance);
        let (listed, usage) = run(&self.pre, &self.setup, None, halt, load, async |store, tools| {
            tools.list_tools(store).await
        })
        .await;
        let reason = match listed {
            Ok(Ok(tools)) => return Ok(tools),
            Ok(Err(message)) => self.setup.masker.text(message),
            Err(failure) => failure.to_string(),
        };
        Err(ComponentError::ListTools {
            reason: Untrusted::new(reason),
            details: details(&usage),
        })
    }

    /// Calls a tool by the component's own name for it, in a new instance, on behalf of `tenant`. `input` is JSON text. The call
    /// ends at `halt` at the latest.
    pub async fn call(
        &self,
        tenant: &Arc<str>,
        tool: &str,
        input: &str,
        halt: Halt<'_>,
    ) -> (Result<Vec<Content>, CallFailure>, CallUse) {
        let (called, usage) = match self.way_to(tool) {
            Some(Way::Command(command, entry)) => {
                return self.call_command(command, entry, tenant, input, halt).await;
            }
            Some(Way::Dynamic(indices)) => {
                let load = |store: &mut _, instance: &_| indices.load(store, instance);
                run(
                    &self.pre,
                    &self.setup,
                    Some(tenant),
                    halt,
                    load,
                    async |store, tools| tools.call_tool(store, tool, input).await,
                )
                .await
            }
            Some(Way::Typed(function)) => self.call_function(tenant, function, input, halt).await,
            None => (
                Err(CallFailure::Host(format!(
                    "the component has no tool `{}`",
                    Untrusted::from(tool).display()
                ))),
                CallUse::default(),
            ),
        };
        let result = match called {
            Ok(Ok(content)) => Ok(content.into_iter().map(|part| self.masked(part)).collect()),
            Ok(Err(error)) => Err(self.tool_error(error)),
            Err(failure) => Err(failure),
        };
        (result, usage)
    }

    /// How to call a tool. A component that lists its tools knows their names itself.
    fn way_to(&self, tool: &str) -> Option<Way<'_>> {
        self.contracts.iter().find_map(|contract| match contract {
            Contract::Command(command, entry) => (command.name == tool).then_some(Way::Command(command, entry)),
            Contract::Dynamic(indices) => Some(Way::Dynamic(indices)),
            Contract::Typed(typed) => typed.get(tool).map(Way::Typed),
        })
    }

    /// Converts the input before there is an instance, calls the function, and converts its result.
    async fn call_function(
        &self,
        tenant: &Arc<str>,
        function: &Function,
        input: &str,
        halt: Halt<'_>,
    ) -> (Result<Result<Vec<Content>, ToolError>, CallFailure>, CallUse) {
        let share = self.setup.memory.share(tenant.clone());
        let arguments = match function.arguments(input, self.limits(), share) {
            Ok(arguments) => arguments,
            Err(NotConverted::Invalid(error)) => return (Ok(Err(error)), CallUse::default()),
            Err(NotConverted::NoMemory(reason)) => return (Err(CallFailure::no_memory(reason)), CallUse::default()),
        };
        let lift = function.lift();
        let limit = self.limits().output_bytes;
        let load = |store: &mut _, instance: &_| function.load(store, instance);
        let (called, usage) = run(
            &self.pre,
            &self.setup,
            Some(tenant),
            halt,
            load,
            async |store, loaded| {
                store.data_mut().hold_values(lift.memory)?;
                store.data_mut().set_extra_result_bytes(lift.extra);
                let result_bytes = store.data().result_bytes();
                store.set_hostcall_fuel(result_bytes);
                function.call(store, loaded, arguments, limit).await
            },
        )
        .await;
        let called =
            called.and_then(|converted| converted.map_err(|reason| CallFailure::InvalidOutput(reason.to_string())));
        (called, usage)
    }

    /// Runs the program of a command. It ends when it exits, with whatever status.
    async fn call_command(
        &self,
        command: &Command,
        entry: &Entry,
        tenant: &Arc<str>,
        input: &str,
        halt: Halt<'_>,
    ) -> (Result<Vec<Content>, CallFailure>, CallUse) {
        let setup = &self.setup;
        let limits = self.limits();
        let invocation = match command.invocation(input, limits.input_bytes) {
            Ok(invocation) => invocation,
            Err(NotFilled::LeadingDash(reason)) => return (Err(CallFailure::LeadingDash(reason)), CallUse::default()),
            Err(NotFilled::Invalid(reason)) => return (Err(CallFailure::InvalidInput(reason)), CallUse::default()),
        };
        let program = Program::new(
            &setup.name,
            &setup.grants.arguments,
            invocation,
            limits.output_bytes,
            setup.memory.share(tenant.clone()),
            setup.masker.clone(),
        );
        if entry.is_adapted
            && let Some(bytes) = oversized_arguments(&program.arguments)
        {
            let reason = format!(
                "the arguments made from the input are too long for this program: the longest and 8 bytes for each are {bytes} \
                 bytes, and a program for WASI 0.1 can be passed {MAX_ADAPTED}"
            );
            return (Err(CallFailure::InvalidInput(reason)), CallUse::default());
        }
        let load = |store: &mut _, instance: &_| entry.load(store, instance);
        let (exited, usage) =
            run_program(&self.pre, setup, Some(&program), Some(tenant), halt, load, run_to_exit).await;
        let result = exited.and_then(|status| {
            let stdout = program.stdout.take();
            match command.meaning(status) {
                Some(ExitMeaning::Ok) => Ok(vec![self.masked(command.content(stdout))]),
                meaning => Err(self.exit_failure(status, meaning, &stdout, &program.tail.take())),
            }
        });
        (result, usage)
    }

    /// A failure by exit status. The model reads the end of what the program printed: standard error, or standard output if that
    /// is blank.
    fn exit_failure(&self, status: u8, meaning: Option<ExitMeaning>, stdout: &[u8], stderr: &str) -> CallFailure {
        let mut message = format!("The command exited with status {status}.");
        // Masked as a whole, because the beginning of its end could be the end of a secret.
        let printed = match stderr.trim().is_empty() {
            true => program::end_of(
                self.setup
                    .masker
                    .text(String::from_utf8_lossy(stdout).into_owned())
                    .as_bytes(),
            ),
            false => stderr.to_owned(),
        };
        if !printed.trim().is_empty() {
            message = format!("{message}\n{}", printed.trim_end());
        }
        match meaning {
            Some(ExitMeaning::InvalidInput) => CallFailure::InvalidInput(message),
            Some(ExitMeaning::Unavailable) => CallFailure::Unavailable {
                message,
                retry_after: None,
            },
            meaning => CallFailure::Failed {
                message,
                counts: meaning == Some(ExitMeaning::Failed),
            },
        }
    }

    /// What a component says of its tools is output as well. A name that was masked is no legal name any more.
    fn masked_info(&self, tool: ToolInfo) -> ToolInfo {
        let masked = |text| self.setup.masker.text(text);
        ToolInfo {
            name: masked(tool.name.into_raw()).into(),
            description: masked(tool.description.into_raw()).into(),
            input_schema: masked(tool.input_schema),
            output_schema: tool.output_schema.map(masked),
            annotations: tool.annotations,
        }
    }

    /// A guest gets no secret from us; should it have one all the same, it ends here.
    fn masked(&self, content: Content) -> Content {
        match content {
            Content::Text(text) => Content::Text(self.setup.masker.text(text)),
            Content::Json(text) => Content::Json(self.setup.masker.text(text)),
            image @ Content::Image(_) => image,
        }
    }

    /// An error that the tool returned. Its text counts as output.
    fn tool_error(&self, error: ToolError) -> CallFailure {
        let text = error.message();
        let limit = self.limits().output_bytes;
        if text.len() as u64 > limit {
            return CallFailure::InvalidOutput(format!(
                "the text of its error has {} bytes, more than output_bytes allows ({})",
                text.len(),
                LimitValue::Bytes(limit)
            ));
        }
        let masked = |text| self.setup.masker.text(text);
        match error {
            ToolError::InvalidInput(message) => CallFailure::InvalidInput(masked(message)),
            ToolError::Failed(message) => CallFailure::Failed {
                message: masked(message),
                counts: true,
            },
            ToolError::Rejected(message) => CallFailure::Failed {
                message: masked(message),
                counts: false,
            },
            ToolError::Unavailable { message, retry_after } => CallFailure::Unavailable {
                message: masked(message),
                retry_after,
            },
        }
    }
}

/// How to call one tool.
enum Way<'a> {
    Command(&'a Command, &'a Entry),
    Dynamic(&'a Indices),
    Typed(&'a Function),
}

/// Refused requests and printed output, for the operator, to follow a reason.
fn details(usage: &CallUse) -> String {
    let mut details = String::new();
    if !usage.http.refused.is_empty() {
        details.push_str("; refused: ");
        details.push_str(&usage.http.refused.join(", "));
    }
    let printed = usage.log.trim();
    if !printed.is_empty() {
        details.push_str("; it printed: ");
        details.push_str(&display_untrusted(printed, MAX_ERROR_CHARS));
    }
    details
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_can_move_between_threads() {
        fn is_send<T: Send>(_: &T) {}
        let _ = |plugin: &Plugin, halt: Halt<'_>| is_send(&plugin.call(&"".into(), "", "", halt));
    }
}

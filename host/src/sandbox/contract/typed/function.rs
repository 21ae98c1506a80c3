//! One function: what the model reads about it, and its call.

use std::borrow::Cow;

use wasmtime::AsContextMut;
use wasmtime::component::{ComponentExportIndex, ComponentNamedList, Func, Instance, Lift, Lower, Val};

use super::bounds::LiftBound;
use super::docs::FunctionDocs;
use super::errors;
use super::from_value::{self, InvalidResult};
use super::named::Named;
use super::schema;
use super::shape::{Field, Shape};
use super::signature::signature;
use super::to_value::{self, Problem, Room};
use crate::sandbox::contract::{Content, ToolError, ToolInfo};
use crate::sandbox::fairness::{MemoryShare, NoMemory};
use crate::sandbox::limits::Limits;

/// A function that is a tool.
#[derive(Debug)]
pub(in crate::sandbox) struct Function {
    index: ComponentExportIndex,
    parameters: Named<Field>,
    result: Option<Shape>,
    /// The types, if the engine can pass them without its dynamic values.
    direct: Option<(DirectParameter, DirectResult)>,
    lift: LiftBound,
    info: ToolInfo,
}

/// Types that the engine copies as a whole. A `list<u8>` as dynamic values takes 40 times its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirectParameter {
    None,
    Text,
    Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirectResult {
    None,
    Text,
    Bytes,
    TextOrError,
    BytesOrError,
}

/// The input of a call, converted.
#[derive(Debug)]
pub(in crate::sandbox) struct Arguments<'a> {
    values: Values<'a>,
    /// What they take of the memory of all guests, until they are dropped.
    _held: MemoryShare,
}

/// Why an input can't be converted.
#[derive(Debug)]
pub(in crate::sandbox) enum NotConverted {
    /// The model can correct it.
    Invalid(ToolError),
    NoMemory(NoMemory),
}

#[derive(Debug)]
enum Values<'a> {
    Dynamic(Vec<Val>),
    None,
    Text(Cow<'a, str>),
    Bytes(Vec<u8>),
}

type Called = Result<Result<Vec<Content>, ToolError>, InvalidResult>;

impl Function {
    /// # Errors
    ///
    /// If the schema of its input is too long.
    pub(super) fn new(
        tool: String,
        name: &str,
        index: ComponentExportIndex,
        parameters: Named<Field>,
        result: Option<Shape>,
        docs: Option<&FunctionDocs>,
        limits: &Limits,
    ) -> Result<Self, String> {
        let too_long = |_| format!("its input schema has more than {} bytes", schema::MAX_SCHEMA_BYTES);
        let input_schema = schema::input(&parameters, docs).map_err(too_long)?;
        let described = docs.and_then(|docs| docs.description.as_deref()).map(str::trim);
        let description = match described {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => signature(name, &parameters, result.as_ref()),
        };
        let direct = direct(&parameters, result.as_ref());
        Ok(Self {
            lift: match direct {
                Some(_) => LiftBound::default(),
                None => LiftBound::of(result.as_ref(), limits.output_bytes, limits.memory),
            },
            info: ToolInfo {
                name: tool.into(),
                description: description.into(),
                input_schema,
                // A result without a schema is still a result.
                output_schema: content_shape(result.as_ref()).and_then(|shape| schema::of(shape).ok()),
                annotations: docs.map(FunctionDocs::annotations).unwrap_or_default(),
            },
            index,
            parameters,
            result,
            direct,
        })
    }

    pub(super) fn info(&self) -> ToolInfo {
        self.info.clone()
    }

    /// What the engine may lift for the result, beyond what every call has.
    pub(in crate::sandbox) fn lift(&self) -> LiftBound {
        self.lift
    }

    /// Converts the input, a JSON object. What it takes of `memory` is held until the arguments are dropped.
    pub(in crate::sandbox) fn arguments<'a>(
        &self,
        input: &'a str,
        limits: &Limits,
        memory: MemoryShare,
    ) -> Result<Arguments<'a>, NotConverted> {
        let mut room = Room::new(limits.memory, memory);
        match self.values(input, &mut room) {
            Ok(values) => Ok(Arguments {
                values,
                _held: room.into_share(),
            }),
            Err(Problem::NoMemory(reason)) => Err(NotConverted::NoMemory(reason)),
            Err(mismatch) => Err(NotConverted::Invalid(ToolError::InvalidInput(format!(
                "The input doesn't match the function's types:\n- {mismatch}"
            )))),
        }
    }

    fn values<'a>(&self, input: &'a str, room: &mut Room) -> Result<Values<'a>, Problem> {
        Ok(match (self.direct, &*self.parameters) {
            (Some((DirectParameter::Text, _)), [parameter]) => {
                Values::Text(to_value::only_string(input, parameter, room)?)
            }
            (Some((DirectParameter::Bytes, _)), [parameter]) => {
                Values::Bytes(to_value::only_bytes(input, parameter, room)?)
            }
            (direct, _) => {
                let values = to_value::arguments(input, &self.parameters, room)?;
                match direct {
                    Some(_) => Values::None,
                    None => Values::Dynamic(values),
                }
            }
        })
    }

    /// Finds the function in an instance.
    ///
    /// # Errors
    ///
    /// If it isn't there, which is a fault of the host.
    pub(in crate::sandbox) fn load(&self, store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Func> {
        let found = instance.get_func(store, self.index);
        found.ok_or_else(|| wasmtime::Error::msg("the instance lacks an exported function"))
    }

    /// Calls the function. Converts the result to at most `limit` bytes.
    pub(in crate::sandbox) async fn call(
        &self,
        mut store: impl AsContextMut<Data: Send>,
        function: Func,
        arguments: Arguments<'_>,
        limit: u64,
    ) -> wasmtime::Result<Called> {
        let store = store.as_context_mut();
        let result = self.direct.map(|(_, result)| result);
        match (arguments.values, result) {
            (Values::None, Some(result)) => call_direct(store, function, (), result, limit).await,
            (Values::Text(text), Some(result)) => call_direct(store, function, (&*text,), result, limit).await,
            (Values::Bytes(bytes), Some(result)) => call_direct(store, function, (&*bytes,), result, limit).await,
            (Values::Dynamic(values), _) => self.call_dynamic(store, function, values, limit).await,
            (_, None) => Err(wasmtime::Error::msg("the arguments are of another function")),
        }
    }

    async fn call_dynamic(
        &self,
        store: impl AsContextMut<Data: Send>,
        function: Func,
        arguments: Vec<Val>,
        limit: u64,
    ) -> wasmtime::Result<Called> {
        let mut results = [Val::Bool(false)];
        let results = &mut results[..usize::from(self.result.is_some())];
        function.call_async(store, &arguments, results).await?;
        drop(arguments);
        let (Some(shape), [value]) = (&self.result, &*results) else {
            return Ok(Ok(Ok(Vec::new())));
        };
        Ok(match (shape, value) {
            (Shape::Result { ok, .. }, Val::Result(Ok(value))) => {
                optional_content(value.as_deref(), ok.as_deref(), limit).map(Ok)
            }
            (Shape::Result { err, .. }, Val::Result(Err(value))) => {
                errors::tool_error(value.as_deref(), err.as_deref(), limit).map(Err)
            }
            (shape, value) => optional_content(Some(value), Some(shape), limit).map(Ok),
        })
    }
}

/// The part of a result that is the content of a success.
fn content_shape(result: Option<&Shape>) -> Option<&Shape> {
    match result? {
        Shape::Result { ok, .. } => ok.as_deref(),
        shape => Some(shape),
    }
}

fn direct(parameters: &[Field], result: Option<&Shape>) -> Option<(DirectParameter, DirectResult)> {
    let parameter = match parameters {
        [] => DirectParameter::None,
        [only] => match only.shape {
            Shape::Text => DirectParameter::Text,
            Shape::Bytes => DirectParameter::Bytes,
            _ => return None,
        },
        _ => return None,
    };
    let result = match result {
        None => DirectResult::None,
        Some(Shape::Text) => DirectResult::Text,
        Some(Shape::Bytes) => DirectResult::Bytes,
        Some(Shape::Result {
            ok: Some(ok),
            err: Some(err),
        }) if **err == Shape::Text => match **ok {
            Shape::Text => DirectResult::TextOrError,
            Shape::Bytes => DirectResult::BytesOrError,
            _ => return None,
        },
        Some(_) => return None,
    };
    Some((parameter, result))
}

async fn call_direct<P>(
    store: impl AsContextMut<Data: Send>,
    function: Func,
    parameters: P,
    result: DirectResult,
    limit: u64,
) -> wasmtime::Result<Called>
where
    P: ComponentNamedList + Lower + Send + Sync,
{
    let content = |text: String| Ok(Ok(vec![Content::Text(text)]));
    let rejected = |text: String| Ok(Err(ToolError::Rejected(text)));
    Ok(match result {
        DirectResult::None => {
            call_typed::<P, ()>(store, function, parameters).await?;
            Ok(Ok(Vec::new()))
        }
        DirectResult::Text => content(call_typed::<P, (String,)>(store, function, parameters).await?.0),
        DirectResult::Bytes => {
            let (bytes,) = call_typed::<P, (Vec<u8>,)>(store, function, parameters).await?;
            from_value::base64(&bytes, limit).and_then(content)
        }
        DirectResult::TextOrError => {
            match call_typed::<P, (Result<String, String>,)>(store, function, parameters)
                .await?
                .0
            {
                Ok(text) => content(text),
                Err(error) => rejected(error),
            }
        }
        DirectResult::BytesOrError => {
            match call_typed::<P, (Result<Vec<u8>, String>,)>(store, function, parameters)
                .await?
                .0
            {
                Ok(bytes) => from_value::base64(&bytes, limit).and_then(content),
                Err(error) => rejected(error),
            }
        }
    })
}

async fn call_typed<P, R>(
    mut store: impl AsContextMut<Data: Send>,
    function: Func,
    parameters: P,
) -> wasmtime::Result<R>
where
    P: ComponentNamedList + Lower + Send + Sync,
    R: ComponentNamedList + Lift + Send + Sync + 'static,
{
    let function = function.typed::<P, R>(&mut store)?;
    function.call_async(store, parameters).await
}

/// A text as it is, bytes as base64, anything else as JSON. Nothing for a success without a value.
fn optional_content(value: Option<&Val>, shape: Option<&Shape>, limit: u64) -> Result<Vec<Content>, InvalidResult> {
    let (Some(value), Some(shape)) = (value, shape) else {
        return Ok(Vec::new());
    };
    let content = match (shape, value) {
        (Shape::Text, Val::String(text)) if text.len() as u64 > limit => return Err(InvalidResult::TooLong(limit)),
        (Shape::Text, Val::String(text)) => Content::Text(text.clone()),
        (Shape::Bytes, value) => {
            let quoted = from_value::json(value, shape, limit.saturating_add(2))?;
            Content::Text(quoted.trim_matches('"').to_owned())
        }
        (shape, value) => Content::Json(from_value::json(value, shape, limit)?),
    };
    Ok(vec![content])
}

//! Bounds the parts of a request and charges the memory they take. `wasmtime-wasi-http` bounds only the headers of a request;
//! without these functions, a thousand requests that are never sent could hold a gigabyte. Bodies are our own, because its own
//! are bounded by pieces: a guest that writes a few small ones before `handle` would wait for ever.

use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body_util::BodyExt;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::DynOutputStream;
use wasmtime_wasi_http::p2::bindings::http::types::{
    ErrorCode, Host as _, HostFields, HostOutgoingRequest, HostOutgoingResponse, Method, Scheme,
};
use wasmtime_wasi_http::p2::types as kept;
use wasmtime_wasi_http::{FieldMap, WasiHttpCtxView};

use super::guest_body::GuestBody;
use super::held::{
    HELD_FOR_A_BODY, HELD_FOR_A_REQUEST, HELD_FOR_FIELDS, MAX_AUTHORITY_BYTES, MAX_METHOD_BYTES, MAX_PATH_BYTES,
    MAX_SCHEME_BYTES,
};
use crate::sandbox::fairness::CallMemory;

/// The interface as `wasmtime-wasi-http` links it. The functions below replace some of its own.
const INTERFACE: &str = "wasi:http/types@0.2.12";

/// What the functions below need of a call.
pub(in crate::sandbox) struct HttpCtx<'a> {
    pub(in crate::sandbox) wasi: WasiHttpCtxView<'a>,
    pub(in crate::sandbox) memory: &'a mut CallMemory,
}

/// The state of a call that can use HTTP.
pub(in crate::sandbox) trait HttpView: Send + 'static {
    /// Counts as one host call.
    fn http(&mut self) -> HttpCtx<'_>;
}

type Store<'a, T> = StoreContextMut<'a, T>;
type Request = Resource<kept::HostOutgoingRequest>;
/// `result`, as the component sees it.
type Answer = wasmtime::Result<(Result<(), ()>,)>;

/// Sets a part of a request unless it is too long.
fn within(bytes: usize, max: usize, set: impl FnOnce() -> wasmtime::Result<Result<(), ()>>) -> Answer {
    match bytes <= max {
        true => Ok((set()?,)),
        false => Ok((Err(()),)),
    }
}

/// The body's length according to `content-length`, if that header is there. `None` if it isn't a number.
fn announced(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    match (values.next(), values.next()) {
        (None, _) => Some(None),
        (Some(value), None) => {
            let digits = value.to_str().ok()?;
            // `parse` also reads a sign.
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().ok())?.map(Some)
        }
        (Some(_), Some(_)) => None,
    }
}

pub(in crate::sandbox) fn add_to_linker<T: HttpView>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap("[constructor]fields", |mut store: Store<'_, T>, (): ()| {
        let mut http = store.data_mut().http();
        http.memory.hold(HELD_FOR_FIELDS)?;
        Ok((HostFields::new(&mut http.wasi)?,))
    })?;
    interface.func_wrap(
        "[static]fields.from-list",
        |mut store: Store<'_, T>, (entries,): (Vec<(String, Vec<u8>)>,)| {
            let HttpCtx { wasi: mut http, memory } = store.data_mut().http();
            memory.hold(HELD_FOR_FIELDS)?;
            Ok((match http.from_list(entries) {
                Ok(fields) => Ok(fields),
                Err(error) => Err(http.convert_header_error(error)?),
            },))
        },
    )?;
    interface.func_wrap(
        "[method]fields.clone",
        |mut store: Store<'_, T>, (fields,): (Resource<FieldMap>,)| {
            let mut http = store.data_mut().http();
            http.memory.hold(HELD_FOR_FIELDS)?;
            Ok((HostFields::clone(&mut http.wasi, fields)?,))
        },
    )?;
    interface.func_wrap(
        "[constructor]outgoing-request",
        |mut store: Store<'_, T>, (headers,): (Resource<FieldMap>,)| {
            let mut http = store.data_mut().http();
            http.memory.hold(HELD_FOR_A_REQUEST)?;
            Ok((HostOutgoingRequest::new(&mut http.wasi, headers)?,))
        },
    )?;
    interface.resource("outgoing-body", ResourceType::host::<GuestBody>(), |mut store, body| {
        store
            .data_mut()
            .http()
            .wasi
            .table
            .delete(Resource::<GuestBody>::new_own(body))?;
        Ok(())
    })?;
    interface.func_wrap(
        "[method]outgoing-request.body",
        |mut store: Store<'_, T>, (request,): (Request,)| {
            let HttpCtx { wasi, memory } = store.data_mut().http();
            memory.hold(HELD_FOR_A_BODY)?;
            let request = wasi.table.get_mut(&request)?;
            let Some(announced) = announced(&request.headers).filter(|_| request.body.is_none()) else {
                return Ok((Err(()),));
            };
            let (body, written) = GuestBody::new(announced, ErrorCode::HttpRequestBodySize);
            request.body = Some(written.boxed_unsync());
            Ok((Ok(wasi.table.push(body)?),))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-response.body",
        |mut store: Store<'_, T>, (response,): (Resource<kept::HostOutgoingResponse>,)| {
            let HttpCtx { wasi, memory } = store.data_mut().http();
            memory.hold(HELD_FOR_A_BODY)?;
            let response = wasi.table.get_mut(&response)?;
            let Some(announced) = announced(&response.headers).filter(|_| response.body.is_none()) else {
                return Ok((Err(()),));
            };
            let (body, written) = GuestBody::new(announced, ErrorCode::HttpResponseBodySize);
            response.body = Some(written.boxed_unsync());
            Ok((Ok(wasi.table.push(body)?),))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-body.write",
        |mut store: Store<'_, T>,
         (body,): (Resource<GuestBody>,)|
         -> wasmtime::Result<(Result<Resource<DynOutputStream>, ()>,)> {
            let wasi = store.data_mut().http().wasi;
            let Some(stream) = wasi.table.get_mut(&body)?.stream() else {
                return Ok((Err(()),));
            };
            Ok((Ok(wasi.table.push_child(stream, &body)?),))
        },
    )?;
    // Trailers can be the headers of another request, which are copied here.
    interface.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: Store<'_, T>, (body, trailers): (Resource<GuestBody>, Option<Resource<FieldMap>>)| {
            let HttpCtx { wasi, memory } = store.data_mut().http();
            let body = wasi.table.delete(body)?;
            let trailers = match trailers {
                Some(trailers) => {
                    memory.hold(HELD_FOR_FIELDS)?;
                    Some(wasi.table.delete(trailers)?.into())
                }
                None => None,
            };
            Ok((body.finish(trailers),))
        },
    )?;
    // No guest serves requests, but it can still build responses.
    interface.func_wrap(
        "[constructor]outgoing-response",
        |mut store: Store<'_, T>, (headers,): (Resource<FieldMap>,)| {
            let mut http = store.data_mut().http();
            http.memory.hold(HELD_FOR_A_REQUEST)?;
            Ok((HostOutgoingResponse::new(&mut http.wasi, headers)?,))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: Store<'_, T>, (request, method): (Request, Method)| -> Answer {
            let bytes = match &method {
                Method::Other(method) => method.len(),
                _ => 0,
            };
            let mut http = store.data_mut().http().wasi;
            within(bytes, MAX_METHOD_BYTES, || http.set_method(request, method))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: Store<'_, T>, (request, scheme): (Request, Option<Scheme>)| -> Answer {
            let bytes = match &scheme {
                Some(Scheme::Other(scheme)) => scheme.len(),
                _ => 0,
            };
            let mut http = store.data_mut().http().wasi;
            within(bytes, MAX_SCHEME_BYTES, || http.set_scheme(request, scheme))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: Store<'_, T>, (request, authority): (Request, Option<String>)| -> Answer {
            let bytes = authority.as_ref().map_or(0, String::len);
            let mut http = store.data_mut().http().wasi;
            within(bytes, MAX_AUTHORITY_BYTES, || http.set_authority(request, authority))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: Store<'_, T>, (request, path): (Request, Option<String>)| -> Answer {
            let bytes = path.as_ref().map_or(0, String::len);
            let mut http = store.data_mut().http().wasi;
            within(bytes, MAX_PATH_BYTES, || http.set_path_with_query(request, path))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

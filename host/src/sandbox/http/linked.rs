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
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

use super::guest_body::GuestBody;
use super::held::{
    HELD_FOR_A_BODY, HELD_FOR_A_REQUEST, HELD_FOR_FIELDS, MAX_AUTHORITY_BYTES, MAX_METHOD_BYTES, MAX_PATH_BYTES,
    MAX_SCHEME_BYTES,
};
use crate::sandbox::call::CallState;

/// The interface as `wasmtime-wasi-http` links it. The functions below replace some of its own.
const INTERFACE: &str = "wasi:http/types@0.2.12";

type Store<'a> = StoreContextMut<'a, CallState>;
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

pub(in crate::sandbox) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut interface = linker.instance(INTERFACE)?;
    interface.func_wrap("[constructor]fields", |mut store: Store<'_>, (): ()| {
        store.data_mut().hold(HELD_FOR_FIELDS)?;
        Ok((HostFields::new(&mut store.data_mut().http())?,))
    })?;
    interface.func_wrap(
        "[static]fields.from-list",
        |mut store: Store<'_>, (entries,): (Vec<(String, Vec<u8>)>,)| {
            store.data_mut().hold(HELD_FOR_FIELDS)?;
            let mut http = store.data_mut().http();
            Ok((match http.from_list(entries) {
                Ok(fields) => Ok(fields),
                Err(error) => Err(http.convert_header_error(error)?),
            },))
        },
    )?;
    interface.func_wrap(
        "[method]fields.clone",
        |mut store: Store<'_>, (fields,): (Resource<FieldMap>,)| {
            store.data_mut().hold(HELD_FOR_FIELDS)?;
            Ok((HostFields::clone(&mut store.data_mut().http(), fields)?,))
        },
    )?;
    interface.func_wrap(
        "[constructor]outgoing-request",
        |mut store: Store<'_>, (headers,): (Resource<FieldMap>,)| {
            store.data_mut().hold(HELD_FOR_A_REQUEST)?;
            Ok((HostOutgoingRequest::new(&mut store.data_mut().http(), headers)?,))
        },
    )?;
    interface.resource("outgoing-body", ResourceType::host::<GuestBody>(), |mut store, body| {
        store.data_mut().table.delete(Resource::<GuestBody>::new_own(body))?;
        Ok(())
    })?;
    interface.func_wrap(
        "[method]outgoing-request.body",
        |mut store: Store<'_>, (request,): (Request,)| {
            let state = store.data_mut();
            state.host_calls += 1;
            state.hold(HELD_FOR_A_BODY)?;
            let request = state.table.get_mut(&request)?;
            let Some(announced) = announced(&request.headers).filter(|_| request.body.is_none()) else {
                return Ok((Err(()),));
            };
            let (body, written) = GuestBody::new(announced, ErrorCode::HttpRequestBodySize);
            request.body = Some(written.boxed_unsync());
            Ok((Ok(state.table.push(body)?),))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-response.body",
        |mut store: Store<'_>, (response,): (Resource<kept::HostOutgoingResponse>,)| {
            let state = store.data_mut();
            state.host_calls += 1;
            state.hold(HELD_FOR_A_BODY)?;
            let response = state.table.get_mut(&response)?;
            let Some(announced) = announced(&response.headers).filter(|_| response.body.is_none()) else {
                return Ok((Err(()),));
            };
            let (body, written) = GuestBody::new(announced, ErrorCode::HttpResponseBodySize);
            response.body = Some(written.boxed_unsync());
            Ok((Ok(state.table.push(body)?),))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-body.write",
        |mut store: Store<'_>,
         (body,): (Resource<GuestBody>,)|
         -> wasmtime::Result<(Result<Resource<DynOutputStream>, ()>,)> {
            let state = store.data_mut();
            state.host_calls += 1;
            let Some(stream) = state.table.get_mut(&body)?.stream() else {
                return Ok((Err(()),));
            };
            Ok((Ok(state.table.push_child(stream, &body)?),))
        },
    )?;
    // Trailers can be the headers of another request, which are copied here.
    interface.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: Store<'_>, (body, trailers): (Resource<GuestBody>, Option<Resource<FieldMap>>)| {
            let state = store.data_mut();
            state.host_calls += 1;
            let body = state.table.delete(body)?;
            let trailers = match trailers {
                Some(trailers) => {
                    state.hold(HELD_FOR_FIELDS)?;
                    Some(state.table.delete(trailers)?.into())
                }
                None => None,
            };
            Ok((body.finish(trailers),))
        },
    )?;
    // No guest serves requests, but it can still build responses.
    interface.func_wrap(
        "[constructor]outgoing-response",
        |mut store: Store<'_>, (headers,): (Resource<FieldMap>,)| {
            store.data_mut().hold(HELD_FOR_A_REQUEST)?;
            Ok((HostOutgoingResponse::new(&mut store.data_mut().http(), headers)?,))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-method",
        |mut store: Store<'_>, (request, method): (Request, Method)| -> Answer {
            let bytes = match &method {
                Method::Other(method) => method.len(),
                _ => 0,
            };
            let mut http = store.data_mut().http();
            within(bytes, MAX_METHOD_BYTES, || http.set_method(request, method))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-scheme",
        |mut store: Store<'_>, (request, scheme): (Request, Option<Scheme>)| -> Answer {
            let bytes = match &scheme {
                Some(Scheme::Other(scheme)) => scheme.len(),
                _ => 0,
            };
            let mut http = store.data_mut().http();
            within(bytes, MAX_SCHEME_BYTES, || http.set_scheme(request, scheme))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-authority",
        |mut store: Store<'_>, (request, authority): (Request, Option<String>)| -> Answer {
            let bytes = authority.as_ref().map_or(0, String::len);
            let mut http = store.data_mut().http();
            within(bytes, MAX_AUTHORITY_BYTES, || http.set_authority(request, authority))
        },
    )?;
    interface.func_wrap(
        "[method]outgoing-request.set-path-with-query",
        |mut store: Store<'_>, (request, path): (Request, Option<String>)| -> Answer {
            let bytes = path.as_ref().map_or(0, String::len);
            let mut http = store.data_mut().http();
            within(bytes, MAX_PATH_BYTES, || http.set_path_with_query(request, path))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

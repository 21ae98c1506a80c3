//! Bounds the parts of a request and charges the memory they take. `wasmtime-wasi-http` bounds only the headers of a request;
//! without these functions, a thousand requests that are never sent could hold a gigabyte.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi_http::p2::bindings::http::types::{
    self, Host as _, HostFields, HostOutgoingRequest, HostOutgoingResponse, Method, Scheme,
};
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types as kept;
use wasmtime_wasi_http::{FieldMap, WasiHttpView};

use super::held::{
    HELD_FOR_A_REQUEST, HELD_FOR_FIELDS, MAX_AUTHORITY_BYTES, MAX_METHOD_BYTES, MAX_PATH_BYTES, MAX_SCHEME_BYTES,
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
    // Trailers can be the headers of another request, which are copied here.
    interface.func_wrap(
        "[static]outgoing-body.finish",
        |mut store: Store<'_>, (body, trailers): (Resource<HostOutgoingBody>, Option<Resource<FieldMap>>)| {
            if trailers.is_some() {
                store.data_mut().hold(HELD_FOR_FIELDS)?;
            }
            let mut http = store.data_mut().http();
            Ok((match types::HostOutgoingBody::finish(&mut http, body, trailers) {
                Ok(()) => Ok(()),
                Err(error) => Err(http.convert_error_code(error)?),
            },))
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

//! Bytes that the host holds for the requests that a guest builds, sent or not.

/// The most bytes of one set of headers that a guest builds. Together with `handles` this bounds all of them.
pub(in crate::sandbox) const FIELD_BYTES: usize = 16 * 1024;

/// Bytes of a request's body that the host takes from the guest at once.
pub(super) const BODY_CHUNK_BYTES: usize = 16 * 1024;

/// The longest parts of a request: no grantable method or scheme, no host name with its port, and no path that servers accept is
/// longer.
pub(super) const MAX_METHOD_BYTES: usize = 32;
pub(super) const MAX_SCHEME_BYTES: usize = 32;
pub(super) const MAX_AUTHORITY_BYTES: usize = 512;
pub(super) const MAX_PATH_BYTES: usize = 8 * 1024;

/// The most memory that a set of headers takes: a value of one byte is counted as a few dozen bytes in `FIELD_BYTES` but
/// takes about a hundred, and a removed header leaves its slot behind.
pub(super) const HELD_FOR_FIELDS: usize = 5 * FIELD_BYTES;
/// Method, scheme, authority and path, and two chunks of an unsent body.
pub(super) const HELD_FOR_A_REQUEST: usize =
    MAX_METHOD_BYTES + MAX_SCHEME_BYTES + MAX_AUTHORITY_BYTES + MAX_PATH_BYTES + 2 * BODY_CHUNK_BYTES;

/// The most bytes that the host holds for this many handles: a request holds its headers and its trailers.
pub(in crate::sandbox) const fn max_held(handles: u32) -> usize {
    (handles as usize).saturating_mul(2 * HELD_FOR_FIELDS + HELD_FOR_A_REQUEST)
}

//! Bytes that the host holds for the requests that a guest builds, sent or not.

/// The most bytes of one set of headers that a guest builds. Together with `handles` this bounds all of them.
pub(in crate::sandbox) const FIELD_BYTES: usize = 16 * 1024;

/// Bytes of a body that a guest can write before the host sends them: before `handle`, or faster than the network.
pub(super) const BODY_BUFFER_BYTES: usize = 64 * 1024;
/// The largest piece of that buffer.
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
/// Method, scheme, authority and path.
pub(super) const HELD_FOR_A_REQUEST: usize = MAX_METHOD_BYTES + MAX_SCHEME_BYTES + MAX_AUTHORITY_BYTES + MAX_PATH_BYTES;
/// The buffer of a body. Its last chunk can be empty but for one byte.
pub(super) const HELD_FOR_A_BODY: usize = BODY_BUFFER_BYTES + 2 * BODY_CHUNK_BYTES;

/// The most bytes that the host holds for this many handles: a request holds its headers, its trailers and its body.
pub(in crate::sandbox) const fn max_held(handles: u32) -> usize {
    (handles as usize).saturating_mul(2 * HELD_FOR_FIELDS + HELD_FOR_A_REQUEST + HELD_FOR_A_BODY)
}

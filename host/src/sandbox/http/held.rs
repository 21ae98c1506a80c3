//! Bytes that the host holds for the requests that a guest makes, whether it sends them or not.

/// Bytes of one set of HTTP headers that a guest builds, as the host holds it. With `handles` it bounds all of them.
pub(in crate::sandbox) const FIELD_BYTES: usize = 16 * 1024;

/// Bytes of a request's body that are taken from the guest at once.
pub(super) const BODY_CHUNK_BYTES: usize = 16 * 1024;

/// No method and no scheme that can be granted is longer, no host name with a port, and no path that servers take.
pub(super) const MAX_METHOD_BYTES: usize = 32;
pub(super) const MAX_SCHEME_BYTES: usize = 32;
pub(super) const MAX_AUTHORITY_BYTES: usize = 512;
pub(super) const MAX_PATH_BYTES: usize = 8 * 1024;

/// What headers take at most: each value of a byte counts for a few dozen bytes in their own bound, and takes a hundred; what
/// was removed leaves its place behind.
pub(super) const HELD_FOR_FIELDS: usize = 5 * FIELD_BYTES;
/// Method, scheme, authority and path, and two pieces of a body that nobody takes.
pub(super) const HELD_FOR_A_REQUEST: usize =
    MAX_METHOD_BYTES + MAX_SCHEME_BYTES + MAX_AUTHORITY_BYTES + MAX_PATH_BYTES + 2 * BODY_CHUNK_BYTES;

/// What so many handles may be worth: a request holds its headers and its trailers.
pub(in crate::sandbox) const fn most_held(handles: u32) -> usize {
    (handles as usize).saturating_mul(2 * HELD_FOR_FIELDS + HELD_FOR_A_REQUEST)
}

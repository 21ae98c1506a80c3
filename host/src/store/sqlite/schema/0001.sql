-- How many migrations have been applied to this database: one row.
CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;

-- The totals of each scope's windows, in nano-dollars. Always the sum of the window's reservations, stored so that a check
-- reads one row and not a whole day's. `tenant` is empty if the scope isn't per tenant.
CREATE TABLE totals (
    scope TEXT NOT NULL,
    tenant TEXT NOT NULL,
    period TEXT NOT NULL,
    spent INTEGER NOT NULL CHECK (spent >= 0),
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    PRIMARY KEY (scope, tenant, period)
) STRICT, WITHOUT ROWID;

-- One row per attempt, never deleted.
CREATE TABLE reservations (
    -- A UUID of version 7, so rows sort by the time of their reservation.
    id TEXT PRIMARY KEY NOT NULL,
    -- The process that made it, by the UUID of its lock file.
    owner TEXT NOT NULL,
    tenant TEXT NOT NULL,
    session_id TEXT NOT NULL,
    model TEXT NOT NULL,
    -- YYYY-MM-DD, UTC.
    day TEXT NOT NULL,
    -- RFC 3339, UTC.
    reserved_at TEXT NOT NULL,
    closed_at TEXT,
    -- `charged`: in full and without a report, because its process died or its caller dropped it.
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'released', 'charged')),
    -- Nano-dollars.
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    -- Nano-dollars; null while open.
    spent INTEGER CHECK (spent >= 0),
    -- 1 if `spent` isn't what the API reported.
    estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1)),
    -- Token counts by kind, as JSON; null if unknown.
    usage TEXT,
    CHECK ((state = 'open') = (spent IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX open_reservations ON reservations (owner) WHERE state = 'open';

-- Thresholds already announced, so that none is announced twice in its window.
CREATE TABLE alerts (
    scope TEXT NOT NULL,
    tenant TEXT NOT NULL,
    period TEXT NOT NULL,
    percent INTEGER NOT NULL,
    PRIMARY KEY (scope, tenant, period, percent)
) STRICT, WITHOUT ROWID;

-- Limits that override the configuration, in nano-dollars.
CREATE TABLE limits (
    scope TEXT PRIMARY KEY NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0)
) STRICT, WITHOUT ROWID;

-- How many of the migrations this database has taken: one row.
CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;

-- What each window of each scope holds, in nano-dollars. Always the sum of its reservations, kept so that a check costs
-- one row and not a day's. `tenant` is empty where the scope is not per tenant.
CREATE TABLE totals (
    scope TEXT NOT NULL,
    tenant TEXT NOT NULL,
    period TEXT NOT NULL,
    spent INTEGER NOT NULL CHECK (spent >= 0),
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    PRIMARY KEY (scope, tenant, period)
) STRICT, WITHOUT ROWID;

-- One row per attempt, for ever: the books.
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
    -- `charged`: in full and without a report, because its process or its caller went away.
    state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'released', 'charged')),
    -- Nano-dollars.
    reserved INTEGER NOT NULL CHECK (reserved >= 0),
    -- Nano-dollars; null while open.
    spent INTEGER CHECK (spent >= 0),
    -- 1 where `spent` is not what the API reported.
    estimated INTEGER NOT NULL DEFAULT 0 CHECK (estimated IN (0, 1)),
    -- Tokens by kind, as JSON; null where they are not known.
    usage TEXT,
    CHECK ((state = 'open') = (spent IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX open_reservations ON reservations (owner) WHERE state = 'open';

-- Thresholds that were announced, so that none is announced twice in its window.
CREATE TABLE alerts (
    scope TEXT NOT NULL,
    tenant TEXT NOT NULL,
    period TEXT NOT NULL,
    percent INTEGER NOT NULL,
    PRIMARY KEY (scope, tenant, period, percent)
) STRICT, WITHOUT ROWID;

-- Limits set by hand, in nano-dollars. They stand above the configuration.
CREATE TABLE limits (
    scope TEXT PRIMARY KEY NOT NULL,
    amount INTEGER NOT NULL CHECK (amount >= 0)
) STRICT, WITHOUT ROWID;

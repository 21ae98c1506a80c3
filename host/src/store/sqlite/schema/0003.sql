-- One row per session.
CREATE TABLE sessions (
    -- A UUID of version 7, so rows sort by the time of their opening.
    id TEXT PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL,
    title TEXT NOT NULL,
    -- RFC 3339, UTC.
    opened_at TEXT NOT NULL,
    changed_at TEXT NOT NULL,
    -- The number of facts, and the bytes of their bodies.
    facts INTEGER NOT NULL CHECK (facts >= 0),
    bytes INTEGER NOT NULL CHECK (bytes >= 0),
    -- How the last run ended; null while one is under way.
    outcome TEXT,
    -- Goes up with each process that takes the session over. An append with an older one is refused.
    lease INTEGER NOT NULL CHECK (lease > 0),
    -- The process that drives it, by the UUID of its lock file; null: none does.
    owner TEXT,
    leased_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_change ON sessions (changed_at);

-- What happened in each session. Only appended to.
CREATE TABLE facts (
    session TEXT NOT NULL,
    -- Counted from 1, without a gap.
    seq INTEGER NOT NULL CHECK (seq > 0),
    at TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    -- JSON, or the digest of a large one in `blobs`.
    body TEXT,
    blob TEXT,
    PRIMARY KEY (session, seq),
    CHECK ((body IS NULL) <> (blob IS NULL))
) STRICT, WITHOUT ROWID;

-- Large bodies, each once per tenant.
CREATE TABLE blobs (
    tenant TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    -- How many facts have it.
    uses INTEGER NOT NULL CHECK (uses >= 0),
    body TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX blobs_by_digest ON blobs (tenant, sha256);

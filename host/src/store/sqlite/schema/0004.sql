-- One row per call that a person was asked about. It goes with its session.
CREATE TABLE approvals (
    -- A random UUID: people name it by its beginning.
    id TEXT PRIMARY KEY NOT NULL,
    tenant TEXT NOT NULL,
    session TEXT NOT NULL,
    -- The call's place among the calls of the model's answer, from 0.
    position INTEGER NOT NULL CHECK (position >= 0),
    call_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    plugin TEXT NOT NULL,
    -- What was approved: this component with this input.
    digest TEXT NOT NULL,
    input_sha256 TEXT NOT NULL,
    -- What the plugin is granted: a JSON list of lines.
    grants TEXT NOT NULL,
    -- RFC 3339, UTC.
    requested_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    -- pending, approved, denied, expired, started, done
    state TEXT NOT NULL,
    decided_at TEXT,
    for_session INTEGER NOT NULL,
    reason TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX approvals_by_session ON approvals (session);

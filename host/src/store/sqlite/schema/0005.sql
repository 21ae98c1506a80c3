-- Breakers as their last change left them, so that a restart doesn't forget an outage.
CREATE TABLE breakers (
    -- `model:ID` or `tool:NAME`.
    name TEXT NOT NULL,
    -- Empty: of all tenants.
    tenant TEXT NOT NULL,
    -- closed, open, half_open
    state TEXT NOT NULL,
    -- RFC 3339, UTC.
    since TEXT NOT NULL,
    -- When an open one lets a probe through; null: it isn't open, or an operator holds it open.
    until TEXT,
    -- The address of the model's API, or the digest of the tool's component.
    about TEXT NOT NULL,
    PRIMARY KEY (name, tenant)
) STRICT, WITHOUT ROWID;

-- What operators want of breakers, for the hosts that run.
CREATE TABLE breaker_orders (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    -- open, close, reset
    order_ TEXT NOT NULL,
    at TEXT NOT NULL
) STRICT;

-- What tool calls used, by the day on which they ended (UTC). Kept when their sessions are deleted.
CREATE TABLE usage (
    day TEXT NOT NULL,
    tenant TEXT NOT NULL,
    plugin TEXT NOT NULL,
    tool TEXT NOT NULL,
    calls INTEGER NOT NULL,
    -- Those whose outcome isn't `ok`.
    failed INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    fuel INTEGER NOT NULL,
    -- The highest peak.
    peak_memory_bytes INTEGER NOT NULL,
    http_requests INTEGER NOT NULL,
    bytes_sent INTEGER NOT NULL,
    bytes_received INTEGER NOT NULL,
    PRIMARY KEY (day, tenant, plugin, tool)
) STRICT, WITHOUT ROWID;

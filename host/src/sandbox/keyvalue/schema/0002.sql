-- An entry's number is its place in its own namespace: it becomes a cursor that the plugin sees, and must not tell how
-- much others keep.
ALTER TABLE entries RENAME TO old_entries;
CREATE TABLE entries (
    tenant TEXT NOT NULL,
    plugin TEXT NOT NULL,
    key TEXT NOT NULL,
    number INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (tenant, plugin, key),
    UNIQUE (tenant, plugin, number)
);
INSERT INTO entries (tenant, plugin, key, number, value)
    SELECT tenant, plugin, key, row_number() OVER (PARTITION BY tenant, plugin ORDER BY id), value
    FROM old_entries;
DROP TABLE old_entries;

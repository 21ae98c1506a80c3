-- Each tenant has limits of its own. `tenant` is empty if the scope isn't per tenant.
ALTER TABLE limits RENAME TO limits_of_host;
CREATE TABLE limits (
    scope TEXT NOT NULL,
    tenant TEXT NOT NULL DEFAULT '',
    -- Nano-dollars.
    amount INTEGER NOT NULL CHECK (amount >= 0),
    PRIMARY KEY (scope, tenant)
) STRICT, WITHOUT ROWID;
INSERT INTO limits (scope, amount) SELECT scope, amount FROM limits_of_host;
DROP TABLE limits_of_host;

-- What tenants have spent so far. No attempt costs a million dollars; the bound keeps an absurd row from stopping the migration.
INSERT INTO totals (scope, tenant, period, spent, reserved)
SELECT 'tenant_day', tenant, day, SUM(MIN(COALESCE(spent, 0), 1000000000000000)),
    SUM(CASE state WHEN 'open' THEN reserved ELSE 0 END)
FROM reservations GROUP BY tenant, day;
INSERT INTO totals (scope, tenant, period, spent, reserved)
SELECT 'tenant_month', tenant, substr(period, 1, 7), SUM(spent), SUM(reserved)
FROM totals WHERE scope = 'tenant_day' GROUP BY tenant, substr(period, 1, 7);

-- What was taken back of a charge. The sum of its reversals.
ALTER TABLE reservations ADD COLUMN reversed INTEGER NOT NULL DEFAULT 0 CHECK (reversed BETWEEN 0 AND coalesce(spent, 0));

-- Corrections of charges, never deleted.
CREATE TABLE reversals (
    -- A UUID of version 7, so that they sort among the reservations.
    id TEXT PRIMARY KEY NOT NULL,
    reservation TEXT NOT NULL,
    -- RFC 3339, UTC.
    at TEXT NOT NULL,
    -- Nano-dollars.
    amount INTEGER NOT NULL CHECK (amount > 0),
    reason TEXT NOT NULL,
    -- Nothing is taken back twice.
    UNIQUE (reservation, reason)
) STRICT, WITHOUT ROWID;

-- A threshold belongs to a limit: where that is raised, the same share of it is another sum, and worth another word. What was
-- announced before is not kept, so it may be announced once more in its window.
DROP TABLE alerts;
CREATE TABLE alerts (
    scope TEXT NOT NULL,
    tenant TEXT NOT NULL,
    period TEXT NOT NULL,
    -- The limit, in nano-dollars.
    amount INTEGER NOT NULL,
    percent INTEGER NOT NULL,
    PRIMARY KEY (scope, tenant, period, amount, percent)
) STRICT, WITHOUT ROWID;

-- A threshold belongs to a limit: after the limit is raised, the same percentage is a different amount and is announced again.
-- Earlier announcements are not kept, so each can be repeated once in its window.
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

-- What the failure was that opened a breaker, on one line; null: it isn't open, an operator holds it open, or nobody knows.
ALTER TABLE breakers ADD COLUMN last_failure TEXT;

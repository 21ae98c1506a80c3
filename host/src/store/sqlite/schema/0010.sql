-- 10
-- What the clock has shown, noted hourly, as Unix seconds. So a clock that is ahead is not taken at its word.
CREATE TABLE clock (seconds INTEGER PRIMARY KEY NOT NULL) STRICT;

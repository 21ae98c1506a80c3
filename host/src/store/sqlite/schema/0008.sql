-- Goes up with each commit that moves money: one row. A file beside the database keeps the highest number, so that an older copy
-- that is put back is noticed.
CREATE TABLE generation (number INTEGER NOT NULL CHECK (number >= 0)) STRICT;
INSERT INTO generation (number) VALUES (0);

-- What the first version of the program wrote.
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, event BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS receipts (
    number INTEGER PRIMARY KEY,
    cid BLOB NOT NULL UNIQUE,
    instruction BLOB NOT NULL,
    receipt BLOB NOT NULL,
    remark BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS receipts_by_instruction ON receipts (instruction, number);
CREATE TABLE IF NOT EXISTS components (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    cid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    added INTEGER NOT NULL
) STRICT;
INSERT INTO events VALUES (0, x'61'), (1, x'62');
PRAGMA user_version = 1;

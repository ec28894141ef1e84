-- The ledger, schema version 1. Times are nanoseconds since 1970 in UTC.

CREATE TABLE run (
    id           INTEGER PRIMARY KEY AUTOINCREMENT, -- ascending: newest is largest, never reused
    kind         TEXT NOT NULL,
    repository   TEXT,
    resource     TEXT,
    job          TEXT,
    user         TEXT,
    begun        INTEGER NOT NULL,
    ended        INTEGER NOT NULL DEFAULT 0, -- 0 while it runs, and when it was killed
    result       TEXT NOT NULL DEFAULT 'running',
    message      TEXT,
    tree         TEXT,
    bytes        INTEGER NOT NULL DEFAULT 0,
    bytes_new    INTEGER NOT NULL DEFAULT 0,
    bytes_stored INTEGER NOT NULL DEFAULT 0,
    files        INTEGER NOT NULL DEFAULT 0,
    detail       TEXT,
    -- who does it, so that a later process can tell whether it still runs
    host         TEXT NOT NULL,
    boot         TEXT NOT NULL,
    pid_space    TEXT NOT NULL,
    pid          INTEGER NOT NULL,
    pid_start    INTEGER NOT NULL
);
CREATE INDEX run_resource ON run (resource, id);
CREATE INDEX run_running ON run (id) WHERE result = 'running';

-- What restores in place have put aside.
CREATE TABLE kept (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    run    INTEGER NOT NULL REFERENCES run (id),
    kind   TEXT NOT NULL,
    path   TEXT NOT NULL,
    kept   TEXT,
    undone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX kept_run ON kept (run, id);

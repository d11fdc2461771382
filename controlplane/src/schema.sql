-- The configuration journal. Documents are JSON in the shapes of files and REST; no table knows
-- what is inside of them but for the columns that are looked up by.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- One row per change of anything: who, when, what.
CREATE TABLE revisions (
    number  INTEGER PRIMARY KEY,
    at_ms   INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    summary TEXT NOT NULL
);

-- What a revision changed. `before` is NULL for a new resource, `after` for a removed one.
CREATE TABLE changes (
    revision INTEGER NOT NULL REFERENCES revisions (number),
    seq      INTEGER NOT NULL,
    kind     TEXT NOT NULL,
    uid      BLOB NOT NULL,
    project  BLOB NOT NULL,
    before   BLOB,
    after    BLOB,
    PRIMARY KEY (revision, seq)
) WITHOUT ROWID;

-- The state after the newest revision. `origin` says who owns the resource: 'file' or 'api'.
CREATE TABLE resources (
    uid      BLOB PRIMARY KEY,
    kind     TEXT NOT NULL,
    project  BLOB NOT NULL,
    name     TEXT NOT NULL,
    owner    TEXT,
    origin   TEXT NOT NULL,
    revision INTEGER NOT NULL,
    document BLOB NOT NULL
) WITHOUT ROWID;

CREATE INDEX resources_by_name ON resources (project, kind, name);
CREATE INDEX resources_by_owner ON resources (project, owner) WHERE owner IS NOT NULL;

-- Turns a new database into one of schema 1, with the sealed values of the table `kept`.
DROP TABLE objects; DROP TABLE sealed_values; DROP TABLE sessions; DROP TABLE token_uses;
ALTER TABLE state DROP COLUMN head;
ALTER TABLE outbox DROP COLUMN revision; ALTER TABLE outbox DROP COLUMN tag;
DELETE FROM migrations WHERE version > 1;
DELETE FROM outbox;
CREATE TABLE credentials (
    owner TEXT NOT NULL, slug TEXT NOT NULL, kind TEXT NOT NULL, description TEXT NOT NULL,
    allowed TEXT NOT NULL, revoked INTEGER NOT NULL, version INTEGER NOT NULL,
    created INTEGER NOT NULL, rotated INTEGER NOT NULL, deleted INTEGER NOT NULL,
    revision INTEGER NOT NULL, PRIMARY KEY (owner, slug)
) STRICT, WITHOUT ROWID;
CREATE TABLE sealed_values (
    owner TEXT NOT NULL, slug TEXT NOT NULL, version INTEGER NOT NULL, field TEXT NOT NULL,
    sealed BLOB NOT NULL, PRIMARY KEY (owner, slug, version, field),
    FOREIGN KEY (owner, slug) REFERENCES credentials (owner, slug)
) STRICT;
CREATE TABLE shares (
    owner TEXT NOT NULL, slug TEXT NOT NULL, principal TEXT NOT NULL,
    PRIMARY KEY (owner, slug, principal),
    FOREIGN KEY (owner, slug) REFERENCES credentials (owner, slug)
) STRICT, WITHOUT ROWID;
CREATE TABLE clients (
    name TEXT PRIMARY KEY, principal TEXT NOT NULL, token_hash BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL, expires INTEGER, enrolment INTEGER NOT NULL
) STRICT;
INSERT INTO credentials VALUES ('alice', 'key', 'secret', '',
    '{"hosts":["api.example.com"],"locations":["header"],"methods":["GET"],"paths":[],"actions":[],"expires":null}',
    0, 1, 1000, 1000, 0, 1);
INSERT INTO credentials VALUES ('alice', 'gone', 'secret', '', '', 0, 7, 1000, 1000, 1, 1);
INSERT INTO sealed_values SELECT * FROM kept WHERE slug = 'key';
INSERT INTO shares VALUES ('alice', 'key', 'bob');
INSERT INTO clients VALUES ('ci', 'build', randomblob(32), 1000, NULL, 1);

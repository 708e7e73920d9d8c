-- The shop's catalogue and its history, as the seed makes them.
CREATE TABLE IF NOT EXISTS products (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    category   TEXT    NOT NULL,
    unit_price INTEGER NOT NULL CHECK (unit_price > 0) -- minor units
) STRICT;

CREATE TABLE IF NOT EXISTS orders (
    id          INTEGER PRIMARY KEY,
    customer_id INTEGER NOT NULL,
    product_id  INTEGER NOT NULL REFERENCES products (id),
    quantity    INTEGER NOT NULL CHECK (quantity > 0),
    amount      INTEGER NOT NULL CHECK (amount > 0), -- minor units of the currency
    currency    TEXT    NOT NULL CHECK (length(currency) = 3),
    ordered_at  INTEGER NOT NULL                     -- seconds since 1970, UTC
) STRICT;

-- What the client asked for, kept word for word: a key that comes again is answered from this row.
-- Ids are UUIDv7, so new rows land at the end of the tree and touch one page, not a random one.
CREATE TABLE IF NOT EXISTS payments (
    id              TEXT    PRIMARY KEY,
    idempotency_key TEXT    NOT NULL UNIQUE,
    request         TEXT    NOT NULL,
    order_id        INTEGER NOT NULL REFERENCES orders (id),
    amount          INTEGER NOT NULL CHECK (amount > 0),
    currency        TEXT    NOT NULL CHECK (length(currency) = 3),
    created_at      INTEGER NOT NULL, -- milliseconds since 1970, UTC
    settled_at      INTEGER,
    authorisation   TEXT              -- the authoriser's word for it; older payments have none
) STRICT, WITHOUT ROWID;

-- The settlement job's queue: only what is still to be done is in this index.
CREATE INDEX IF NOT EXISTS payments_to_settle ON payments (id) WHERE settled_at IS NULL;

-- Double entry: the amounts of one payment add up to zero, a debit positive and a credit negative.
CREATE TABLE IF NOT EXISTS ledger_entries (
    id         INTEGER PRIMARY KEY,
    payment_id TEXT    NOT NULL REFERENCES payments (id),
    account    TEXT    NOT NULL,
    amount     INTEGER NOT NULL CHECK (amount <> 0),
    currency   TEXT    NOT NULL CHECK (length(currency) = 3),
    posted_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX IF NOT EXISTS ledger_entries_of_payment ON ledger_entries (payment_id);

-- A ledger is corrected by another entry, never by an eraser.
CREATE TRIGGER IF NOT EXISTS ledger_entries_stay BEFORE UPDATE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger entries are never changed'); END;
CREATE TRIGGER IF NOT EXISTS ledger_entries_remain BEFORE DELETE ON ledger_entries
BEGIN SELECT RAISE(ABORT, 'ledger entries are never deleted'); END;

-- What the roll-up job has added up; one row per day and currency.
CREATE TABLE IF NOT EXISTS daily_settlements (
    day      TEXT    NOT NULL,
    currency TEXT    NOT NULL,
    payments INTEGER NOT NULL,
    amount   INTEGER NOT NULL,
    PRIMARY KEY (day, currency)
) STRICT, WITHOUT ROWID;

-- Facts about the file itself. `orders` is written in the transaction that seeds, so it is there
-- exactly when all of the seed is.
CREATE TABLE IF NOT EXISTS facts (
    name  TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

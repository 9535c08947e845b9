-- Desired state. One SQL text for SQLite and PostgreSQL: TEXT, BIGINT, no more.
-- Times are microseconds since 1970; lists and exits are JSON; flags are 0 or 1.

CREATE TABLE meta (
    id          BIGINT PRIMARY KEY CHECK (id = 1),
    cluster     TEXT   NOT NULL,
    epoch       BIGINT NOT NULL,
    next_key    BIGINT NOT NULL,
    next_change BIGINT NOT NULL,
    next_commit BIGINT NOT NULL,
    addresses   TEXT   NOT NULL
);

CREATE TABLE deployment (
    id         TEXT   PRIMARY KEY,
    module     TEXT   NOT NULL,
    spec       TEXT   NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE change (
    id            BIGINT PRIMARY KEY,
    state         TEXT   NOT NULL,
    refusal       TEXT,
    deadline      BIGINT NOT NULL,
    created_at    BIGINT NOT NULL,
    commit_number BIGINT
);

CREATE TABLE change_module (
    change_id       BIGINT NOT NULL REFERENCES change (id),
    module          TEXT   NOT NULL,
    deployment      TEXT   NOT NULL REFERENCES deployment (id),
    platform        TEXT   NOT NULL,
    replicas        BIGINT NOT NULL,
    prev_deployment TEXT   REFERENCES deployment (id),
    prev_platform   TEXT,
    prev_replicas   BIGINT,
    PRIMARY KEY (change_id, module)
);

-- A request id is known before and after what it asked for is forgotten.
CREATE TABLE request (
    id        TEXT   PRIMARY KEY,
    change_id BIGINT NOT NULL REFERENCES change (id),
    content   TEXT   NOT NULL,
    asked_at  BIGINT NOT NULL
);

CREATE TABLE serving (
    module     TEXT   PRIMARY KEY,
    deployment TEXT   NOT NULL REFERENCES deployment (id),
    platform   TEXT   NOT NULL,
    replicas   BIGINT NOT NULL
);

CREATE TABLE kept (
    module     TEXT   PRIMARY KEY,
    deployment TEXT   NOT NULL REFERENCES deployment (id),
    platform   TEXT   NOT NULL,
    replicas   BIGINT NOT NULL,
    keep_until BIGINT NOT NULL
);

CREATE TABLE slot (
    runner     BIGINT PRIMARY KEY,
    deployment TEXT   NOT NULL REFERENCES deployment (id),
    platform   TEXT   NOT NULL,
    drain      BIGINT NOT NULL,
    attempts   BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE ended (
    runner     BIGINT PRIMARY KEY,
    deployment TEXT   NOT NULL REFERENCES deployment (id),
    platform   TEXT   NOT NULL,
    why        TEXT   NOT NULL,
    exit_json  TEXT,
    tail       TEXT   NOT NULL,
    complete   BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL
);

INSERT INTO meta (id, cluster, epoch, next_key, next_change, next_commit, addresses)
VALUES (1, '', 0, 1, 1, 1, '[]');

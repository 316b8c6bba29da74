CREATE TABLE datasets (
    id VARCHAR(32) NOT NULL,
    name VARCHAR(200) NOT NULL,
    state VARCHAR(16) NOT NULL,
    format VARCHAR(32) NOT NULL,
    source JSON NOT NULL,
    options JSON NOT NULL,
    job_id VARCHAR(32),
    artifact VARCHAR(200),
    labelled BOOLEAN NOT NULL,
    classes JSON NOT NULL,
    summary JSON NOT NULL,
    occupies BIGINT,
    metadata JSON NOT NULL,
    created_by VARCHAR(64),
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    ended_at DOUBLE PRECISION,
    PRIMARY KEY (id)
);

CREATE INDEX datasets_newest ON datasets (created_at, id);

CREATE TABLE jobs (
    id VARCHAR(32) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    state VARCHAR(16) NOT NULL,
    stage VARCHAR(16),
    dataset_id VARCHAR(32),
    params JSON NOT NULL,
    request JSON NOT NULL,
    inputs JSON NOT NULL,
    done JSON NOT NULL,
    progress JSON NOT NULL,
    models JSON NOT NULL,
    metrics JSON NOT NULL,
    error JSON,
    times JSON NOT NULL,
    priority INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    token INTEGER NOT NULL,
    worker VARCHAR(120),
    lease_until DOUBLE PRECISION,
    not_before DOUBLE PRECISION,
    event_seq INTEGER NOT NULL,
    thinned_at DOUBLE PRECISION,
    occupies BIGINT,
    name VARCHAR(100),
    metadata JSON NOT NULL,
    created_by VARCHAR(64),
    request_id VARCHAR(64),
    traceparent VARCHAR(55),
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    ended_at DOUBLE PRECISION,
    PRIMARY KEY (id)
);

CREATE INDEX jobs_created_by ON jobs (created_by, state);

CREATE INDEX jobs_dataset ON jobs (dataset_id, state, created_at, id);

CREATE INDEX jobs_dataset_newest ON jobs (dataset_id, created_at, id);

CREATE INDEX jobs_kind ON jobs (kind, state, created_at, id);

CREATE INDEX jobs_kind_newest ON jobs (kind, created_at, id);

CREATE INDEX jobs_lease ON jobs (state, lease_until);

CREATE INDEX jobs_newest ON jobs (created_at, id);

CREATE INDEX jobs_state_newest ON jobs (state, created_at, id);

CREATE INDEX jobs_next ON jobs (priority DESC, created_at, id) WHERE state = 'queued' AND not_before IS NOT NULL;

CREATE INDEX jobs_next_import ON jobs (priority DESC, created_at, id) WHERE state = 'queued' AND kind = 'import';

CREATE INDEX jobs_whole ON jobs (ended_at) WHERE ended_at IS NOT NULL AND thinned_at IS NULL;

CREATE TABLE events (
    job_id VARCHAR(32) NOT NULL,
    seq INTEGER NOT NULL,
    type VARCHAR(16) NOT NULL,
    data JSON NOT NULL,
    at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (job_id, seq),
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE TABLE reviews (
    job_id VARCHAR(32) NOT NULL,
    dataset_id VARCHAR(32) NOT NULL,
    answers JSON NOT NULL,
    created_by VARCHAR(64),
    created_by_name VARCHAR(100),
    updated_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (job_id),
    FOREIGN KEY(dataset_id) REFERENCES datasets (id) ON DELETE CASCADE,
    FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);

CREATE INDEX ix_reviews_dataset_id ON reviews (dataset_id);

CREATE TABLE backbones (
    artifact VARCHAR(200) NOT NULL,
    digest VARCHAR(64) NOT NULL,
    PRIMARY KEY (artifact),
    UNIQUE (digest)
);

CREATE TABLE models (
    id VARCHAR(32) NOT NULL,
    dataset_id VARCHAR(32),
    job_id VARCHAR(32),
    arm VARCHAR(32) NOT NULL,
    backbone VARCHAR(200) NOT NULL,
    classes JSON NOT NULL,
    image_size INTEGER NOT NULL,
    artifact VARCHAR(200) NOT NULL,
    backbone_artifact VARCHAR(200),
    erm_id VARCHAR(32),
    calibration JSON,
    pattern_judge JSON,
    drift JSON,
    review_policy JSON,
    promise JSON,
    metrics JSON NOT NULL,
    occupies BIGINT,
    name VARCHAR(100),
    metadata JSON NOT NULL,
    created_by VARCHAR(64),
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(backbone_artifact) REFERENCES backbones (artifact)
);

CREATE INDEX ix_models_backbone_artifact ON models (backbone_artifact);

CREATE INDEX ix_models_job_id ON models (job_id);

CREATE INDEX models_newest ON models (created_at, id);

CREATE INDEX models_arm ON models (arm, created_at, id);

CREATE INDEX models_dataset ON models (dataset_id, created_at, id);

CREATE TABLE aliases (
    name VARCHAR(100) NOT NULL,
    model_id VARCHAR(32) NOT NULL,
    version INTEGER NOT NULL,
    updated_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (name),
    FOREIGN KEY(model_id) REFERENCES models (id)
);

CREATE TABLE alias_moves (
    name VARCHAR(100) NOT NULL,
    version INTEGER NOT NULL,
    model_id VARCHAR(32),
    created_by VARCHAR(64),
    at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (name, version)
);

CREATE TABLE served (
    model_id VARCHAR(32) NOT NULL,
    calibration_id VARCHAR(40) NOT NULL,
    hour INTEGER NOT NULL,
    what VARCHAR(32) NOT NULL,
    count BIGINT NOT NULL,
    PRIMARY KEY (model_id, calibration_id, hour, what)
);

CREATE INDEX served_hour ON served (hour);

CREATE TABLE drift (
    model_id VARCHAR(32) NOT NULL,
    calibration_id VARCHAR(40) NOT NULL,
    windows JSON NOT NULL,
    look JSON,
    PRIMARY KEY (model_id),
    FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE
);

CREATE TABLE review_items (
    id VARCHAR(32) NOT NULL,
    model_id VARCHAR(32) NOT NULL,
    seq INTEGER NOT NULL,
    kind VARCHAR(16) NOT NULL,
    calibration_id VARCHAR(40),
    max_risk DOUBLE PRECISION,
    risk_confidence DOUBLE PRECISION,
    sha256 VARCHAR(64) NOT NULL,
    subject VARCHAR(200),
    subject_sha256 VARCHAR(64),
    label VARCHAR,
    prediction JSON NOT NULL,
    nearest JSON NOT NULL,
    nearest_dataset_id VARCHAR(32),
    bytes BIGINT,
    outcome VARCHAR(32),
    true_label VARCHAR,
    answered_by VARCHAR(64),
    answered_by_name VARCHAR(100),
    answered_at DOUBLE PRECISION,
    claimed_by VARCHAR(64),
    claimed_until DOUBLE PRECISION,
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(model_id) REFERENCES models (id) ON DELETE CASCADE,
    FOREIGN KEY(nearest_dataset_id) REFERENCES datasets (id) ON DELETE SET NULL
);

CREATE UNIQUE INDEX review_items_order ON review_items (model_id, kind, seq);

CREATE INDEX review_items_newest ON review_items (created_at, id);

CREATE INDEX review_items_model ON review_items (model_id, created_at, id);

CREATE INDEX review_items_answered ON review_items (answered_by, answered_at, id);

CREATE INDEX review_items_copies ON review_items (model_id, kind, sha256);

CREATE INDEX review_items_nearest ON review_items (nearest_dataset_id);

CREATE INDEX review_items_waiting ON review_items (created_at, seq) WHERE outcome IS NULL AND bytes IS NOT NULL;

CREATE INDEX review_items_next ON review_items (kind, created_at, seq) WHERE outcome IS NULL AND bytes IS NOT NULL;

CREATE INDEX review_items_next_of_model ON review_items (model_id, kind, created_at, seq) WHERE outcome IS NULL AND bytes IS NOT NULL;

CREATE TABLE review_images (
    item_id VARCHAR(32) NOT NULL,
    content BYTEA NOT NULL,
    PRIMARY KEY (item_id),
    FOREIGN KEY(item_id) REFERENCES review_items (id) ON DELETE CASCADE
);

CREATE TABLE keys (
    id VARCHAR(32) NOT NULL,
    name VARCHAR(100) NOT NULL,
    owner VARCHAR(100),
    digest BYTEA NOT NULL,
    scopes JSON NOT NULL,
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    revoked_at DOUBLE PRECISION,
    PRIMARY KEY (id)
);

CREATE TABLE audit (
    id VARCHAR(32) NOT NULL,
    actor VARCHAR(64) NOT NULL,
    actor_name VARCHAR(100),
    action VARCHAR(64) NOT NULL,
    object VARCHAR(100) NOT NULL,
    status INTEGER NOT NULL,
    request_id VARCHAR(64) NOT NULL,
    address VARCHAR(64),
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (id)
);

CREATE INDEX audit_newest ON audit (created_at, id);

CREATE TABLE idempotency (
    key VARCHAR(64) NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    status INTEGER,
    headers JSON NOT NULL,
    body BYTEA,
    at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (key)
);

CREATE INDEX ix_idempotency_at ON idempotency (at);

CREATE TABLE webhooks (
    id VARCHAR(32) NOT NULL,
    url VARCHAR(2000) NOT NULL,
    events JSON NOT NULL,
    description VARCHAR(100),
    secret VARCHAR(100) NOT NULL,
    old_secret VARCHAR(100),
    old_secret_until DOUBLE PRECISION,
    created_by VARCHAR(64),
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    disabled_at DOUBLE PRECISION,
    disabled_reason VARCHAR(200),
    PRIMARY KEY (id)
);

CREATE TABLE deliveries (
    id VARCHAR(32) NOT NULL,
    webhook_id VARCHAR(32) NOT NULL,
    type VARCHAR(32) NOT NULL,
    data JSON NOT NULL,
    created_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    next_attempt_at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision,
    attempts INTEGER NOT NULL,
    last_status INTEGER,
    last_error VARCHAR(200),
    delivered_at DOUBLE PRECISION,
    given_up_at DOUBLE PRECISION,
    PRIMARY KEY (id),
    FOREIGN KEY(webhook_id) REFERENCES webhooks (id) ON DELETE CASCADE
);

CREATE INDEX deliveries_newest ON deliveries (webhook_id, created_at, id);

CREATE INDEX deliveries_next ON deliveries (webhook_id, next_attempt_at) WHERE next_attempt_at IS NOT NULL;

CREATE TABLE trash (
    key VARCHAR(200) NOT NULL,
    at DOUBLE PRECISION DEFAULT extract(epoch from clock_timestamp())::double precision NOT NULL,
    PRIMARY KEY (key)
);

CREATE TABLE purges (
    id INTEGER NOT NULL,
    audit_seconds DOUBLE PRECISION NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (id)
);


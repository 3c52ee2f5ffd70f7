-- Made by `make contract` from schema/tables.py. For mysql < FILE.
SET NAMES utf8mb4;

CREATE TABLE IF NOT EXISTS api_keys (
	id BIGINT NOT NULL AUTO_INCREMENT,
	prefix VARCHAR(16) NOT NULL,
	secret_sha256 BINARY(32) NOT NULL,
	`role` VARCHAR(16) NOT NULL,
	description VARCHAR(255),
	created_at DATETIME(6) NOT NULL,
	expires_at DATETIME(6),
	revoked_at DATETIME(6),
	last_used_at DATETIME(6),
	PRIMARY KEY (id),
	CONSTRAINT uq_api_keys_prefix UNIQUE (prefix)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS audit_log (
	id BIGINT NOT NULL AUTO_INCREMENT,
	actor VARCHAR(64) NOT NULL,
	action VARCHAR(64) NOT NULL,
	object VARCHAR(128) NOT NULL,
	detail JSON,
	created_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='append-only' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS consent_withdrawals (
	user_id VARCHAR(128) NOT NULL,
	withdrawn_at DATETIME(6) NOT NULL,
	created_at DATETIME(6) NOT NULL,
	PRIMARY KEY (user_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_keyword_counts (
	keyword VARCHAR(64) NOT NULL,
	intent VARCHAR(32) NOT NULL,
	total BIGINT NOT NULL,
	updated_at DATETIME(6) NOT NULL,
	PRIMARY KEY (keyword, intent)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_keyword_rules (
	id BIGINT NOT NULL AUTO_INCREMENT,
	keyword VARCHAR(64) NOT NULL,
	intent VARCHAR(32) NOT NULL,
	confidence_boost NUMERIC(5, 4) NOT NULL,
	source VARCHAR(16) NOT NULL COMMENT 'auto or manual',
	usage_count BIGINT NOT NULL DEFAULT 0,
	success_count BIGINT NOT NULL DEFAULT 0,
	failure_count BIGINT NOT NULL COMMENT 'added' DEFAULT 0,
	support INTEGER NOT NULL COMMENT 'added: labelled questions it stood in' DEFAULT 0,
	revision_added INTEGER NOT NULL COMMENT 'added' DEFAULT 0,
	retired_reason VARCHAR(255) COMMENT 'added',
	enabled BOOL NOT NULL DEFAULT 1,
	created_at DATETIME(6) NOT NULL,
	updated_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT uq_intent_keyword_rules_keyword_intent UNIQUE (keyword, intent)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_keyword_snapshots (
	taken_at DATETIME(6) NOT NULL,
	keyword VARCHAR(64) NOT NULL COMMENT 'empty in the one row that every snapshot has',
	intent VARCHAR(32) NOT NULL,
	total BIGINT NOT NULL,
	PRIMARY KEY (taken_at, keyword, intent)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='intent_keyword_counts as it was at some moments: what windows are counted from' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_label_suspects (
	question_id BIGINT NOT NULL,
	quality NUMERIC(5, 4) NOT NULL COMMENT 'how sure the label is right, 0..1',
	suggested JSON NOT NULL COMMENT 'the intents that the other questions speak for',
	labeled_at DATETIME(6) NOT NULL,
	training_batch_id VARCHAR(64) NOT NULL,
	PRIMARY KEY (question_id),
	KEY ix_suspects_quality (quality)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='added: labels that looked wrong to the last training' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_leases (
	text_hash BINARY(16) NOT NULL,
	labeler_id VARCHAR(64) NOT NULL,
	expires_at DATETIME(6) NOT NULL,
	PRIMARY KEY (text_hash),
	KEY ix_leases_expiry (expires_at),
	KEY ix_leases_labeler (labeler_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='which labeler has which group of questions, until when' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_locks (
	name VARCHAR(64) NOT NULL,
	PRIMARY KEY (name)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='rows to lock: what only one process may do at a time holds one until its transaction ends' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_model_activations (
	id BIGINT NOT NULL COMMENT 'the generation' AUTO_INCREMENT,
	version VARCHAR(64) NOT NULL,
	rules_revision INTEGER NOT NULL,
	traffic INTEGER NOT NULL,
	mode VARCHAR(16) NOT NULL,
	activated_by VARCHAR(64) NOT NULL,
	reason VARCHAR(500) NOT NULL,
	activated_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='append-only' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_model_training_batches (
	id BIGINT NOT NULL AUTO_INCREMENT,
	batch_id VARCHAR(64) NOT NULL,
	model_version VARCHAR(64),
	description VARCHAR(500),
	question_count INTEGER NOT NULL COMMENT 'labelled questions it was made of' DEFAULT 0,
	labeled_count INTEGER NOT NULL COMMENT 'distinct ones among them' DEFAULT 0,
	training_status VARCHAR(16) NOT NULL COMMENT 'pending, training, completed, rejected, failed or cancelled',
	training_start_time DATETIME(6),
	training_end_time DATETIME(6),
	training_duration_sec NUMERIC(12, 3),
	model_accuracy NUMERIC(5, 4) COMMENT 'held-out exact-match accuracy of the candidate',
	model_path VARCHAR(500),
	training_log LONGTEXT,
	error_message TEXT,
	`trigger` VARCHAR(16) NOT NULL COMMENT 'added: threshold or manual',
	metrics JSON COMMENT 'added: serving and candidate on the same held-out rows, and the gate''s verdict',
	task VARCHAR(32) NOT NULL COMMENT 'added: fine_tune, extract_keywords or rescore',
	auto_extract_keywords BOOL NOT NULL COMMENT 'added' DEFAULT 1,
	options JSON COMMENT 'added: min_confidence and limit of an extraction',
	attempt INTEGER NOT NULL COMMENT 'added: fencing token of the running trainer' DEFAULT 0,
	requested BOOL NOT NULL COMMENT 'added: training.requested was written' DEFAULT 0,
	parent_version VARCHAR(64) COMMENT 'added: the version whose weights it starts from',
	progress JSON COMMENT 'added: the last training.progress',
	rules_extracted INTEGER COMMENT 'added',
	traceparent VARCHAR(64) COMMENT 'added: trace of the event that led to it',
	created_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT uq_intent_model_training_batches_batch_id UNIQUE (batch_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_model_versions (
	id BIGINT NOT NULL AUTO_INCREMENT,
	version VARCHAR(64) NOT NULL,
	model_name VARCHAR(128) NOT NULL,
	model_path VARCHAR(500) NOT NULL COMMENT 'URL of the artefact',
	base_model VARCHAR(255) NOT NULL,
	parent_version VARCHAR(64),
	training_batch_id VARCHAR(64),
	question_count INTEGER NOT NULL DEFAULT 0,
	accuracy NUMERIC(5, 4),
	metrics JSON,
	gate_passed BOOL NOT NULL COMMENT 'added',
	rules_revision INTEGER NOT NULL COMMENT 'added: the rules inside the artefact',
	manifest_sha256 VARCHAR(64) NOT NULL,
	is_active BOOL NOT NULL DEFAULT 0,
	deployed_at DATETIME(6),
	description VARCHAR(500),
	created_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT uq_intent_model_versions_version UNIQUE (version)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_question_marks (
	id BIGINT NOT NULL AUTO_INCREMENT,
	decision BINARY(16) NOT NULL COMMENT 'equal for what one decision marked',
	question_id BIGINT NOT NULL,
	text_hash BINARY(16) NOT NULL,
	labeler_id VARCHAR(64) NOT NULL,
	kind VARCHAR(16) NOT NULL COMMENT 'label, copy (labelled with another one), skip, postpone, flag or undo',
	comment VARCHAR(500) COMMENT 'why it was flagged',
	answer JSON COMMENT 'the intents of a label',
	until DATETIME(6),
	created_at DATETIME(6) NOT NULL,
	closed_at DATETIME(6),
	PRIMARY KEY (id),
	KEY ix_marks_kind (kind, created_at),
	KEY ix_marks_labeler (labeler_id, kind, created_at),
	KEY ix_marks_question (question_id, kind),
	KEY ix_marks_text (text_hash, kind)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='what people decided on questions, until they undo it; the labels themselves are in intent_label_history' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_reviews (
	id BIGINT NOT NULL AUTO_INCREMENT,
	question_id BIGINT NOT NULL,
	action VARCHAR(16) NOT NULL COMMENT 'accept, correct or send_back',
	labeler_id VARCHAR(64) NOT NULL,
	correct_intent JSON,
	comment VARCHAR(500),
	created_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id),
	KEY ix_reviews_question (question_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='append-only' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_rollout_comparisons (
	generation BIGINT NOT NULL COMMENT 'the candidate''s activation',
	first_question_id BIGINT NOT NULL COMMENT 'questions from it on are compared',
	verdict VARCHAR(16) COMMENT 'better, worse or unknown',
	comparison JSON COMMENT 'the figures of both versions',
	compared_at DATETIME(6),
	PRIMARY KEY (generation)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='how a candidate did beside the version that served' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_rollups (
	name VARCHAR(64) NOT NULL,
	item VARCHAR(64) NOT NULL,
	value BIGINT NOT NULL,
	PRIMARY KEY (name, item)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='sums over intent_user_questions, kept in the transactions that change it: see schema/rollups.py' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_second_opinions (
	text_hash BINARY(16) NOT NULL,
	question_id BIGINT NOT NULL,
	first_labeler VARCHAR(64) NOT NULL,
	first_answer JSON NOT NULL,
	first_at DATETIME(6) NOT NULL,
	second_labeler VARCHAR(64),
	second_answer JSON,
	second_at DATETIME(6),
	agreed BOOL,
	reviewed_at DATETIME(6),
	PRIMARY KEY (text_hash),
	KEY ix_second_opinions_agreed (agreed, reviewed_at, question_id),
	KEY ix_second_opinions_question (question_id),
	KEY ix_second_opinions_second (second_labeler, first_at)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='the share of questions that two people answer, neither knowing what the other or the model said' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_shadow_answers (
	id BIGINT NOT NULL AUTO_INCREMENT,
	event_id BINARY(16) NOT NULL,
	text_hash BINARY(16) NOT NULL COMMENT 'of the question, see intent_user_questions',
	version VARCHAR(64) NOT NULL COMMENT 'the version that only would have said so',
	generation BIGINT NOT NULL COMMENT 'its activation',
	intents JSON NOT NULL,
	confidence NUMERIC(5, 4) NOT NULL,
	served_version VARCHAR(64) NOT NULL,
	agreed BOOL NOT NULL,
	scored_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT uq_intent_shadow_answers_event_id UNIQUE (event_id),
	KEY ix_shadow_answers_version (version, text_hash)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='what a version would have answered that did not answer' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_user_questions (
	id BIGINT NOT NULL AUTO_INCREMENT,
	event_id BINARY(16) NOT NULL,
	question TEXT NOT NULL,
	text_hash BINARY(16) NOT NULL COMMENT 'added: equal for copies of a question, decides the held-out split',
	user_id VARCHAR(128),
	session_id VARCHAR(128),
	solar_date DATE,
	solar_time VARCHAR(16),
	gender VARCHAR(16),
	intents JSON,
	confidence NUMERIC(5, 4),
	rule_types JSON,
	time_intent JSON,
	keywords JSON,
	method VARCHAR(32),
	response_time_ms INTEGER,
	is_fortune_related BOOL,
	is_ambiguous BOOL,
	reasoning TEXT,
	is_labeled BOOL NOT NULL DEFAULT 0,
	correct_intent JSON,
	correct_time_intent JSON,
	labeler_id VARCHAR(64),
	labeled_at DATETIME(6),
	training_status VARCHAR(16) NOT NULL COMMENT 'pending, used or skipped' DEFAULT 'pending',
	training_batch_id VARCHAR(64),
	training_model_version VARCHAR(64),
	model_version VARCHAR(64) COMMENT 'added: the version that answered',
	rules_revision INTEGER COMMENT 'added',
	matched_rules JSON COMMENT 'added: [{keyword, intent}]',
	consent_training BOOL NOT NULL COMMENT 'added: as the question said, or the default',
	consent_stated BOOL NOT NULL COMMENT 'added: whether the question said anything of consent',
	traceparent VARCHAR(64) COMMENT 'added: trace of the event that brought it',
	asked_at DATETIME(6) NOT NULL,
	created_at DATETIME(6) NOT NULL,
	updated_at DATETIME(6) NOT NULL,
	waiting_band SMALLINT GENERATED ALWAYS AS (CASE WHEN is_labeled = 0 AND consent_training = 1 AND training_status = 'pending' THEN CASE WHEN confidence IS NULL THEN 0 ELSE 1 + FLOOR(confidence * 200) END END) STORED COMMENT 'added: confidence in steps of 0.005 where it waits for a label, 0 where it was never classified',
	waiting_since DATETIME(6) GENERATED ALWAYS AS (CASE WHEN is_labeled = 0 AND consent_training = 1 AND training_status = 'pending' THEN asked_at END) STORED COMMENT 'added: asked_at where it waits for a label',
	stored_on DATE GENERATED ALWAYS AS (CAST(created_at AS DATE)) STORED COMMENT 'added: the day of created_at',
	PRIMARY KEY (id),
	CONSTRAINT uq_intent_user_questions_event_id UNIQUE (event_id),
	KEY ix_questions_band (waiting_band),
	KEY ix_questions_since (waiting_since),
	KEY ix_questions_text (stored_on, text_hash),
	KEY ix_questions_training (is_labeled, training_status, training_model_version, training_batch_id),
	KEY ix_questions_user (stored_on, user_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS outbox (
	id BIGINT NOT NULL AUTO_INCREMENT,
	event_id BINARY(16) NOT NULL COMMENT 'id of the CloudEvent; a repeat of a publish keeps it',
	topic VARCHAR(100) NOT NULL COMMENT 'without the prefix',
	record_key VARCHAR(128) NOT NULL,
	event LONGTEXT NOT NULL COMMENT 'the event''s data, JSON',
	traceparent VARCHAR(64),
	created_at DATETIME(6) NOT NULL,
	PRIMARY KEY (id)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='rows are deleted once the broker has acknowledged them' COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS intent_label_history (
	id BIGINT NOT NULL AUTO_INCREMENT,
	event_id BINARY(16) NOT NULL,
	question_id BIGINT NOT NULL,
	correct_intent JSON NOT NULL,
	correct_time_intent JSON,
	labeler_id VARCHAR(64) NOT NULL,
	labeled_at DATETIME(6) NOT NULL,
	applied_at DATETIME(6) NOT NULL,
	takes_back VARCHAR(8) COMMENT 'added: an undo: last, the labeler''s last label before it, or all of them',
	PRIMARY KEY (id),
	CONSTRAINT uq_intent_label_history_event_id UNIQUE (event_id),
	FOREIGN KEY(question_id) REFERENCES intent_user_questions (id),
	KEY ix_label_history_question (question_id)
)ENGINE=InnoDB CHARSET=utf8mb4 COMMENT='append-only' COLLATE utf8mb4_bin;

INSERT IGNORE INTO intent_locks (name) VALUES ('trigger'), ('activation'), ('relay'), ('snapshot'), ('work');

CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);

INSERT INTO alembic_version (version_num) SELECT '0006' FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM alembic_version AS marked);

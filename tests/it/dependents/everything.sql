CREATE TABLE orgs (id int PRIMARY KEY, name text);
CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY (START WITH 100 INCREMENT BY 5) PRIMARY KEY,
    number serial,
    org_id int,
    boss_id bigint,
    email text COLLATE "C" NOT NULL DEFAULT 'none',
    score numeric(8, 2) DEFAULT 0,
    during tsrange,
    payload text,
    doubled numeric GENERATED ALWAYS AS (score * 2) STORED,
    CONSTRAINT users_score_positive CHECK (score >= 0),
    CONSTRAINT users_email_key UNIQUE (email),
    CONSTRAINT users_during_excl EXCLUDE USING gist (during WITH &&)
) WITH (fillfactor = 70, toast.autovacuum_enabled = off);
CREATE INDEX users_partial ON users (score) WHERE score > 5;
CREATE INDEX users_lower ON users (lower(email), score) WITH (fillfactor = 80);
CREATE UNIQUE INDEX users_number ON users (number) INCLUDE (score);
ALTER TABLE users ALTER number SET NOT NULL;
ALTER INDEX users_lower ALTER COLUMN 1 SET STATISTICS 77;
ALTER TABLE users ALTER payload SET STORAGE EXTERNAL, ALTER payload SET COMPRESSION pglz;
ALTER TABLE users ALTER score SET STATISTICS 250, ALTER score SET (n_distinct = 50);
ALTER TABLE users CLUSTER ON users_lower;
ALTER TABLE users REPLICA IDENTITY USING INDEX users_number;
CREATE STATISTICS users_stat (ndistinct, dependencies) ON org_id, score FROM users;
ALTER STATISTICS users_stat SET STATISTICS 33;
CREATE STATISTICS users_expr ON lower(email), (score + 1) FROM users;

ALTER TABLE users ADD CONSTRAINT users_org FOREIGN KEY (org_id) REFERENCES orgs (id)
    ON DELETE SET NULL (org_id) ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE users ADD CONSTRAINT users_boss FOREIGN KEY (boss_id) REFERENCES users (id) MATCH FULL;
ALTER TABLE users ADD CONSTRAINT users_unchecked FOREIGN KEY (org_id) REFERENCES orgs (id) NOT VALID;
CREATE TABLE orders (id int PRIMARY KEY, user_id bigint, email text COLLATE "C",
    CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE DEFERRABLE);
ALTER TABLE orders ADD CONSTRAINT orders_email FOREIGN KEY (email) REFERENCES users (email)
    ON UPDATE CASCADE;

CREATE TABLE audit (what text, id bigint);
CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE FUNCTION tr_rows() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER a_before BEFORE INSERT OR UPDATE OF email ON users FOR EACH ROW
    WHEN (NEW.score > 3) EXECUTE FUNCTION tr('x', 'y''z');
CREATE TRIGGER b_disabled AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION tr();
CREATE TRIGGER c_replica AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION tr();
CREATE TRIGGER d_always AFTER INSERT ON users
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION tr_rows();
CREATE CONSTRAINT TRIGGER e_late AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION tr();
ALTER TABLE users DISABLE TRIGGER b_disabled;
ALTER TABLE users ENABLE REPLICA TRIGGER c_replica;
ALTER TABLE users ENABLE ALWAYS TRIGGER d_always;

CREATE RULE log_delete AS ON DELETE TO users DO ALSO INSERT INTO audit VALUES ('gone', OLD.id);
CREATE RULE off AS ON UPDATE TO users DO ALSO NOTHING;
ALTER TABLE users DISABLE RULE off;
CREATE TABLE inbox (email text);
CREATE RULE forward AS ON INSERT TO inbox DO ALSO INSERT INTO users (email) VALUES (NEW.email);

CREATE VIEW v_users WITH (security_barrier = true, security_invoker = false)
    AS SELECT id, email, score FROM users WHERE score >= 0 WITH LOCAL CHECK OPTION;
ALTER VIEW v_users ALTER COLUMN email SET DEFAULT 'from view';
CREATE VIEW v_top AS SELECT v.id, v.email, o.id AS order_id FROM v_users v
    LEFT JOIN orders o ON o.user_id = v.id;
CREATE FUNCTION v_top_write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER v_top_insert INSTEAD OF INSERT ON v_top FOR EACH ROW EXECUTE FUNCTION v_top_write();
CREATE RULE v_users_delete AS ON DELETE TO v_users DO INSTEAD UPDATE users SET score = 0
    WHERE users.id = OLD.id;
CREATE VIEW v_whole WITH (security_invoker = true) AS SELECT count(u) AS n FROM users u;
CREATE FUNCTION add_user(text) RETURNS bigint BEGIN ATOMIC
    INSERT INTO users (email) VALUES ($1) RETURNING id; END;

ALTER TABLE users ENABLE ROW LEVEL SECURITY;
ALTER TABLE users FORCE ROW LEVEL SECURITY;
CREATE POLICY all_boss ON users TO boss USING (true) WITH CHECK (true);
CREATE POLICY narrow ON users AS RESTRICTIVE FOR SELECT TO app, lead USING (score > 1);
CREATE POLICY own ON users FOR UPDATE TO PUBLIC USING (email = current_user)
    WITH CHECK (EXISTS (SELECT FROM orgs o WHERE o.id = users.org_id));
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY theirs ON orders USING (EXISTS (SELECT FROM users u WHERE u.id = orders.user_id));

GRANT SELECT ON users TO lead WITH GRANT OPTION;
GRANT INSERT, UPDATE ON users TO app;
GRANT SELECT (email), UPDATE (score) ON users TO PUBLIC;
SET ROLE lead;
GRANT SELECT ON users TO app;
RESET ROLE;
GRANT USAGE ON SEQUENCE users_id_seq TO app;
GRANT SELECT ON v_users TO lead WITH GRANT OPTION;
GRANT INSERT (email) ON v_users TO app;
SET ROLE lead;
GRANT SELECT ON v_users TO app;
RESET ROLE;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;

CREATE PUBLICATION pub FOR TABLE users (id, number, email) WHERE (number > 5), orders;

COMMENT ON TABLE users IS 'the table''s \ comment';
COMMENT ON COLUMN users.email IS 'column';
COMMENT ON CONSTRAINT users_pkey ON users IS 'key';
COMMENT ON CONSTRAINT users_score_positive ON users IS 'check';
COMMENT ON CONSTRAINT users_org ON users IS 'outbound';
COMMENT ON CONSTRAINT orders_user ON orders IS 'inbound';
COMMENT ON INDEX users_partial IS 'index';
COMMENT ON STATISTICS users_stat IS 'statistics';
COMMENT ON TRIGGER a_before ON users IS 'trigger';
COMMENT ON POLICY own ON users IS 'policy';
COMMENT ON RULE log_delete ON users IS 'rule';
COMMENT ON SEQUENCE users_id_seq IS 'sequence';
COMMENT ON VIEW v_users IS 'view';
COMMENT ON COLUMN v_users.score IS 'view column';

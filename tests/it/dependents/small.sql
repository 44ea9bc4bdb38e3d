CREATE TABLE orgs (id int PRIMARY KEY);
CREATE TABLE users (
    id int PRIMARY KEY,
    email text DEFAULT 'none',
    org_id int CONSTRAINT users_org REFERENCES orgs,
    spare int
);
INSERT INTO users SELECT n, 'first' FROM generate_series(1, 3) n;
CREATE TABLE orders (id int PRIMARY KEY, user_id bigint CONSTRAINT orders_user REFERENCES users);
CREATE VIEW v_users WITH (security_barrier = true) AS SELECT id, email FROM users
    WITH CASCADED CHECK OPTION;
CREATE VIEW v_top AS SELECT * FROM v_users;
ALTER VIEW v_top ALTER COLUMN email SET DEFAULT 'top';
CREATE TABLE audit (id bigint);
CREATE RULE v_top_log AS ON DELETE TO v_top DO ALSO INSERT INTO audit VALUES (OLD.id);
CREATE FUNCTION write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO users (id, email) VALUES (NEW.id, NEW.email); RETURN NEW; END $$;
CREATE TRIGGER v_top_insert INSTEAD OF INSERT ON v_top FOR EACH ROW EXECUTE FUNCTION write();
COMMENT ON TRIGGER v_top_insert ON v_top IS 'instead';
CREATE TABLE inbox (id int);
CREATE RULE forward AS ON INSERT TO inbox DO ALSO INSERT INTO users (id) VALUES (NEW.id);
CREATE FUNCTION add_user(int) RETURNS text BEGIN ATOMIC
    INSERT INTO users (id) VALUES ($1) RETURNING email; END;
GRANT SELECT ON v_users TO lead WITH GRANT OPTION;
GRANT SELECT (spare), UPDATE (org_id) ON users TO app;
SET ROLE lead;
GRANT SELECT ON v_users TO app;
RESET ROLE;
ALTER VIEW v_users OWNER TO boss;
COMMENT ON VIEW v_top IS 'view';
COMMENT ON COLUMN v_top.id IS 'view column';
COMMENT ON COLUMN users.spare IS 'column';
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;

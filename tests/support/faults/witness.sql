-- What happened to executions, steps and licences, in order, told by nobody but the database: triggers of the test.
-- `faults.instance` is a setting of the connection, made in its URL: which process wrote.
CREATE SCHEMA witness;
CREATE TABLE witness.log (
    n             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    writer        text NOT NULL DEFAULT coalesce(current_setting('faults.instance', true), ''),
    what          text NOT NULL,
    execution_id  uuid,
    path          text,
    was           text,
    became        text,
    owner         uuid
);
-- No key and no constraint: what is done twice is to be seen twice.
CREATE TABLE public.effects (
    n             bigint GENERATED ALWAYS AS IDENTITY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    number        text NOT NULL,
    step          text NOT NULL,
    execution_id  text NOT NULL
);

CREATE FUNCTION witness.see_execution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR new.status <> old.status OR new.instance_id IS DISTINCT FROM old.instance_id THEN
        INSERT INTO witness.log (what, execution_id, was, became, owner)
        VALUES ('execution', new.id, CASE TG_OP WHEN 'UPDATE' THEN old.status END, new.status, new.instance_id);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE ON hark.workflow_executions
    FOR EACH ROW EXECUTE FUNCTION witness.see_execution();

-- A flush whose COMMIT was not answered is written again; as long as that changes nothing, nothing has happened.
CREATE FUNCTION witness.see_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND new IS NOT DISTINCT FROM old THEN
        RETURN NULL;
    END IF;
    INSERT INTO witness.log (what, execution_id, path, was, became)
    VALUES ('step', new.execution_id, new.path, CASE TG_OP WHEN 'UPDATE' THEN old.status END, new.status);
    RETURN NULL;
END $$;
CREATE TRIGGER zz_witness AFTER INSERT OR UPDATE ON hark.workflow_steps
    FOR EACH ROW EXECUTE FUNCTION witness.see_step();

CREATE FUNCTION witness.see_licence() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO witness.log (what, became, owner)
    VALUES ('licence', lower(TG_OP), coalesce(new.id, old.id));
    RETURN NULL;
END $$;
CREATE TRIGGER zz_witness AFTER INSERT OR DELETE ON hark.instances
    FOR EACH ROW EXECUTE FUNCTION witness.see_licence();

-- `faults.host`: this process is to be taken for one of another host, where nobody sees that it has ended.
CREATE FUNCTION witness.move_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    new.host_boot := coalesce(nullif(current_setting('faults.host', true), ''), new.host_boot);
    RETURN new;
END $$;
CREATE TRIGGER aa_witness BEFORE INSERT ON hark.instances FOR EACH ROW EXECUTE FUNCTION witness.move_host();

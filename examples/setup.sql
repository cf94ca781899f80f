-- The tables that the examples work on. Repeatable: `make run` runs it at every start.
CREATE TABLE IF NOT EXISTS public.clients (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email       text NOT NULL,
    status      text NOT NULL DEFAULT 'lead',
    welcomed_at timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS public.client_reports (
    slot     timestamptz PRIMARY KEY,
    clients  bigint NOT NULL,
    welcomed bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS public.deployments (
    commit_id  text NOT NULL,
    repository text NOT NULL,
    asked_at   timestamptz NOT NULL DEFAULT now()
);

-- Documents from elsewhere: sources, what is in them, and how their runs went.

create table sources (
  workspace_id     uuid not null references workspaces on delete cascade,
  id               uuid not null,
  organization_id  uuid not null,
  kind             text not null,
  name             text not null,
  config           jsonb not null, -- nothing secret
  sealed           text, -- its secrets, encrypted for this source
  labels           jsonb not null, -- access, tags, metadata and readers of its documents, and rules for some of them
  labels_version   integer not null default 1,
  owner_id         uuid references users on delete set null,
  made_by          text, -- the principal of a program or key that made it; people are owners
  interval_seconds integer check (interval_seconds >= 60),
  is_paused        boolean not null default false,
  is_removing      boolean not null default false,
  cursor           jsonb,
  failures         integer not null default 0, -- runs in a row that failed
  error            jsonb, -- why the last run failed
  run_id           uuid, -- the newest run
  next_run_at      timestamptz,
  last_success_at  timestamptz,
  created_at       timestamptz not null default now(),
  updated_at       timestamptz not null default now(),
  primary key (workspace_id, id)
);
create index sources_due on sources (next_run_at) where next_run_at is not null and not is_paused;

-- One thing in a source. `waiting` items are what is left to do of a run: a run that is interrupted goes on from them.
create table source_items (
  workspace_id   uuid not null,
  source_id      uuid not null,
  key            text not null check (octet_length(key) <= 2000), -- its lasting name there
  name           text,
  status         text not null check (status in ('waiting', 'held', 'same', 'alias', 'skipped', 'failed', 'gone')),
  run_id         uuid not null, -- the last run that saw it
  ordinal        bigint not null generated always as identity,
  depth          integer not null default 0,
  attempts       integer not null default 0,
  revision       text,
  etag           text,
  last_modified  text,
  sha256         text,
  links          text[] not null default '{}',
  document_id    uuid,
  labels_version integer not null default 0,
  error          jsonb,
  fetched_at     timestamptz,
  primary key (workspace_id, source_id, key),
  foreign key (workspace_id, source_id) references sources on delete cascade,
  -- The document was deleted by hand: it comes back when its original changes.
  foreign key (workspace_id, document_id) references documents on delete set null (document_id)
);
create index source_items_waiting on source_items (workspace_id, source_id, attempts, ordinal) where status = 'waiting';
create index source_items_document on source_items (workspace_id, document_id) where document_id is not null;
create index source_items_content on source_items (workspace_id, source_id, sha256) where sha256 is not null;

create table source_runs (
  workspace_id uuid not null,
  id           uuid not null,
  source_id    uuid not null,
  job_id       uuid not null, -- the job that carries it on now
  reason       text not null check (reason in ('asked', 'schedule', 'removal')),
  status       text not null default 'queued'
               check (status in ('queued', 'listing', 'fetching', 'succeeded', 'partial', 'failed', 'cancelled')),
  is_complete  boolean not null default false, -- what was not seen is gone
  cursor       jsonb,
  listed       integer not null default 0,
  added        integer not null default 0,
  changed      integer not null default 0,
  unchanged    integer not null default 0,
  removed      integer not null default 0,
  skipped      integer not null default 0,
  failed       integer not null default 0,
  error        jsonb,
  created_at   timestamptz not null default now(),
  started_at   timestamptz,
  finished_at  timestamptz,
  primary key (workspace_id, id),
  foreign key (workspace_id, source_id) references sources on delete cascade
);
create index source_runs_newest on source_runs (workspace_id, source_id, created_at desc, id desc);
create index source_runs_job on source_runs (workspace_id, job_id);

do $$
declare
  t text;
begin
  foreach t in array array['sources', 'source_items', 'source_runs'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('create policy tenant on %I to ragecho_app using (workspace_id = (select ragecho_workspace()))'
      ' with check (workspace_id = (select ragecho_workspace()))', t);
    execute format('create trigger refuse_when_archived before insert or update or delete on %I'
      ' for each statement execute function ragecho_refuse_when_archived()', t);
  end loop;
end
$$;
grant select, insert, update, delete on sources, source_items, source_runs to ragecho_app;

-- Which sources are due, over all tenants. Ids only; each is then started by its own workspace's worker, under its row lock.
create policy login on sources to ragecho_login using (true);
grant select on sources to ragecho_login;
create function ragecho_due_sources(most integer) returns table (organization_id uuid, workspace_id uuid, id uuid)
language sql stable security definer set search_path = pg_catalog, public
begin atomic
  select s.organization_id, s.workspace_id, s.id
  from public.sources s join public.workspaces w on w.id = s.workspace_id
  where s.next_run_at <= now() and not s.is_paused and w.status <> 'archived'
  order by s.next_run_at limit most;
end;
grant create on schema public to ragecho_login;
alter function ragecho_due_sources owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_due_sources from public;
grant execute on function ragecho_due_sources to ragecho_app;

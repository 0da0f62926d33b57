-- Uploads that resume and repeat safely, jobs with batches and priorities, retention, maintenance.

-- `batch_id` is the upload that a job came with; `priority` orders the jobs of one workspace among themselves; `sealed` is
-- the encrypted password of a file, gone when the job has ended.
alter table jobs
  add column priority smallint not null default 0 check (priority between -1 and 1),
  add column batch_id uuid,
  add column sealed   text;
create index jobs_of_batch on jobs (workspace_id, batch_id) where batch_id is not null;
create index jobs_waiting on jobs (workspace_id, priority desc, created_at, id) where status = 'queued';

-- What a request with an Idempotency-Key was answered. `fingerprint` is the digest of what it asked for.
create table idempotency_keys (
  workspace_id uuid not null references workspaces on delete cascade,
  principal    text not null,
  key          bytea not null, -- SHA-256 of the key
  fingerprint  bytea not null,
  answer       jsonb not null,
  created_at   timestamptz not null default now(),
  primary key (workspace_id, principal, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- What a file says of itself: who wrote it and when.
alter table documents add column authors text[] not null default '{}', add column written_at timestamptz;

-- Files that come in pieces. Each piece is a blob of its own until the last one has arrived: any process may take the next.
create table uploads (
  workspace_id   uuid not null references workspaces on delete cascade,
  id             uuid not null,
  principal      text not null, -- who began it; nobody else sees it
  filename       text not null,
  content_type   text,
  size_bytes     bigint not null check (size_bytes >= 0),
  received_bytes bigint not null default 0,
  labels         jsonb not null,
  sealed         text,
  answer         jsonb, -- what became of it, once it is complete
  created_at     timestamptz not null default now(),
  expires_at     timestamptz not null,
  primary key (workspace_id, id),
  check (received_bytes between 0 and size_bytes)
);
create index uploads_expiry on uploads (workspace_id, expires_at);
create table upload_parts (
  workspace_id uuid not null,
  upload_id    uuid not null,
  first        bigint not null,
  size_bytes   bigint not null,
  sha256       text not null,
  primary key (workspace_id, upload_id, first),
  foreign key (workspace_id, upload_id) references uploads on delete cascade
);
create index upload_parts_sha256 on upload_parts (workspace_id, sha256);

-- What an administrator of a workspace decided about its documents; no row means what the installation's settings say.
create table document_rules (
  workspace_id   uuid primary key references workspaces on delete cascade,
  retention_days integer check (retention_days between 1 and 36500),
  max_documents  bigint check (max_documents >= 0),
  max_bytes      bigint check (max_bytes >= 0),
  updated_at     timestamptz not null default now()
);

do $$
declare
  t text;
begin
  foreach t in array array['idempotency_keys', 'uploads', 'upload_parts', 'document_rules'] loop
    execute format('alter table %I enable row level security, force row level security', t);
    execute format('grant select, insert, update, delete on %I to ragecho_app', t);
  end loop;
  foreach t in array array['idempotency_keys', 'uploads'] loop
    execute format(
      'create policy own on %I to ragecho_app using (workspace_id = (select ragecho_workspace())'
      ' and ((select ragecho_sees_all()) or principal = any ((select ragecho_principals())::text[])))', t);
  end loop;
end
$$;
create policy own on upload_parts to ragecho_app
  using (workspace_id = (select ragecho_workspace())
         and exists (select from uploads u where u.workspace_id = upload_parts.workspace_id and u.id = upload_parts.upload_id));
create policy tenant on document_rules to ragecho_app using (workspace_id = (select ragecho_workspace()));

-- When a task of the whole installation was taken up last. Whoever moves the time forward does it: one worker of many.
create table maintenance_tasks (
  name        text primary key,
  taken_at    timestamptz,
  finished_at timestamptz
);
insert into maintenance_tasks (name) values ('hourly');
grant select, update on maintenance_tasks to ragecho_app;

-- The next delivery of an organisation that has fewer than `most` in the works; what procrastinate_fetch_job_v2 does, otherwise.
-- One worker at a time looks, so that two do not count the same place as free.
create function ragecho_fetch_job(target_queues varchar[], worker bigint, most integer) returns procrastinate_jobs
language plpgsql as $$
declare
  found procrastinate_jobs;
begin
  perform pg_advisory_xact_lock(hashtextextended('ragecho_fetch_job', 7));
  with busy as (
    select args ->> 'organization_id' as organization from procrastinate_jobs where status = 'doing'
    group by 1 having count(*) >= most
  ), candidate as (
    select q.id from procrastinate_jobs q
    where q.status = 'todo' and (target_queues is null or q.queue_name = any (target_queues))
      and (q.scheduled_at is null or q.scheduled_at <= now())
      and not exists (select from busy where busy.organization = q.args ->> 'organization_id')
    order by q.priority desc, q.id limit 1 for update of q skip locked
  )
  update procrastinate_jobs q set status = 'doing', worker_id = worker from candidate
  where q.id = candidate.id returning q.* into found;
  return found;
end
$$;

-- How full the caller's workspace is, also with what the caller may not see: numbers only.
create policy sizes on documents for select to ragecho_login using (workspace_id = (select ragecho_workspace()));
create policy sizes on jobs for select to ragecho_login using (workspace_id = (select ragecho_workspace()));
create policy sizes on document_rules for select to ragecho_login using (workspace_id = (select ragecho_workspace()));
grant select (workspace_id, id, size_bytes) on documents to ragecho_login;
grant select (workspace_id, document_id, status) on jobs to ragecho_login;
grant select on document_rules to ragecho_login;
create function ragecho_workspace_size()
returns table (documents bigint, bytes bigint, waiting bigint, max_documents bigint, max_bytes bigint)
language sql stable security definer set search_path = pg_catalog, public
begin atomic
  select (select count(*) from public.documents d where d.workspace_id = public.ragecho_workspace()),
         (select coalesce(sum(d.size_bytes), 0)::bigint from public.documents d
          where d.workspace_id = public.ragecho_workspace()),
         (select count(*) from public.jobs j
          where j.workspace_id = public.ragecho_workspace() and j.status in ('queued', 'running')),
         (select r.max_documents from public.document_rules r where r.workspace_id = public.ragecho_workspace()),
         (select r.max_bytes from public.document_rules r where r.workspace_id = public.ragecho_workspace());
end;
grant create on schema public to ragecho_login;
alter function ragecho_workspace_size owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_workspace_size from public;
grant execute on function ragecho_workspace_size to ragecho_app;

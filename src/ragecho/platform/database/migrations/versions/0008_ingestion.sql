-- Ingestion at scale: embeddings are kept by content, jobs know their size and their turn.

-- `size` is about how many bytes there are to work on: small jobs are done several at a time. `turn` is the start tag of
-- start-time fair queueing (Goyal, Vin, Cheng 1996): the queue serves the lowest one.
alter table jobs add column size bigint not null default 0, add column turn bigint not null default 0;

-- The language a document was recognised to be in (ISO 639-1), and the ways of stemming that an index holds terms of: a
-- question is stemmed in each of them.
alter table documents add column language text;
alter table index_statistics add column stemmings text[] not null default '{english}';

-- The embedding of a text by a model, so that the same words are embedded once: files that are uploaded again, moved to
-- another workspace, or changed in one paragraph. Per organisation: whether a text is known here says nothing about others.
create table embedding_cache (
  organization_id uuid not null references organizations on delete cascade,
  model           text not null, -- name and revision
  digest          bytea not null, -- SHA-256 of the embedded text
  embedding       halfvec not null,
  used_on         date not null default current_date,
  primary key (organization_id, model, digest)
);
create index embedding_cache_age on embedding_cache (used_on);
alter table embedding_cache enable row level security, force row level security;
create policy tenant on embedding_cache to ragecho_app
  using (organization_id = (select ragecho_organization()))
  with check (organization_id = (select ragecho_organization()));
grant select, insert, update, delete on embedding_cache to ragecho_app;

-- Maintenance goes through all workspaces, each as its own worker. Ids only: nothing of a tenant's is told.
create function ragecho_all_workspaces() returns table (organization_id uuid, id uuid)
language sql stable security definer set search_path = pg_catalog, public
begin atomic
  select w.organization_id, w.id from public.workspaces w order by w.created_at, w.id;
end;
grant create on schema public to ragecho_login;
alter function ragecho_all_workspaces owner to ragecho_login;
revoke create on schema public from ragecho_login;
revoke execute on function ragecho_all_workspaces from public;
grant execute on function ragecho_all_workspaces to ragecho_app;

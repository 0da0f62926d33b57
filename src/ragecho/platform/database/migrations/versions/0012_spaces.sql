-- Embedding spaces that switch: the next space of a workspace is filled beside the one that answers, and takes its place in one
-- transaction (docs/adr/0016-embedding-spaces.md).

-- The newest re-indexing of a workspace. `is_open`: the new space is clean, and every change of a document is written to it,
-- too. `position` is how far the present pass over the documents is; `missing` how many were left when it began, and
-- `stale_passes` how often in a row a pass left as many as it found.
create table reindexes (
  workspace_id   uuid primary key references workspaces on delete cascade,
  id             uuid not null,
  from_space_id  uuid not null references embedding_spaces,
  to_space_id    uuid not null references embedding_spaces,
  status         text not null default 'filling'
                 check (status in ('filling', 'switching', 'done', 'failed', 'cancelled')),
  is_open        boolean not null default false,
  position       uuid,
  missing        bigint,
  stale_passes   smallint not null default 0,
  documents_done bigint not null default 0,
  error          jsonb,
  started_by     text, -- a principal; null for Echo's own workers
  started_at     timestamptz not null default now(),
  opened_at      timestamptz,
  switched_at    timestamptz,
  finished_at    timestamptz
);
alter table reindexes enable row level security, force row level security;
create policy tenant on reindexes to ragecho_app using (workspace_id = (select ragecho_workspace()));
grant select, insert, update, delete on reindexes to ragecho_app;
create trigger refuse_when_archived before insert or update or delete on reindexes
  for each statement execute function ragecho_refuse_when_archived();

-- The graph of vectors with so many dimensions: made when a space with them is first known, while there are no such vectors and
-- making it costs one look at the table. It runs as the tables' owner; the number is all that it takes, and it is checked.
-- True when it was made now.
create function ragecho_make_graph(dimensions integer) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
begin
  if dimensions is null or dimensions not between 1 and 4000 then
    raise exception 'a graph has 1 to 4000 dimensions' using errcode = '22023';
  end if;
  if to_regclass(format('public.chunk_vectors_hnsw_%s', dimensions)) is not null then
    return false;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('ragecho_make_graph', 12));
  if to_regclass(format('public.chunk_vectors_hnsw_%s', dimensions)) is not null then
    return false;
  end if;
  execute format('create index chunk_vectors_hnsw_%1$s on chunk_vectors'
    ' using hnsw ((embedding::halfvec(%1$s)) halfvec_ip_ops) with (m = 24, ef_construction = 128)'
    ' where vector_dims(embedding) = %1$s', dimensions);
  return true;
end
$$;
revoke execute on function ragecho_make_graph from public;
grant execute on function ragecho_make_graph to ragecho_app;
-- Spaces that are known already.
do $$
begin
  perform ragecho_make_graph(s.dimensions) from (select distinct dimensions from embedding_spaces) s;
end
$$;

-- How many workspaces are in which space: numbers only, so that an operator is told which ones wait to be re-indexed.
create function ragecho_spaces_in_use() returns table (space_id uuid, workspaces bigint)
language sql stable security definer set search_path = pg_catalog, public
begin atomic
  select w.space_id, count(*) from public.workspaces w where w.status = 'active' group by w.space_id;
end;

-- As before (0011_search.sql), of the space that the workspace's queries use: while the next one is being filled there are
-- vectors of both.
create policy lexical on workspaces for select to ragecho_lexical using (id = (select ragecho_workspace()));
grant select (id, space_id) on workspaces to ragecho_lexical;
drop function ragecho_count_readable;
create function ragecho_count_readable(count_limit integer) returns integer
language plpgsql stable security definer parallel restricted
set search_path = pg_catalog, public set max_parallel_workers_per_gather = 0
as $$
declare
  caller_workspace constant uuid := ragecho_workspace();
  caller_principals constant text[] := ragecho_principals();
  own_space uuid;
  partition_number integer;
  counted integer;
begin
  if caller_workspace is null then
    return 0;
  end if;
  select w.space_id into own_space from workspaces w where w.id = caller_workspace;
  select n into partition_number from generate_series(0, 15) n
  where satisfies_hash_partition('chunk_vectors'::regclass, 16, n, caller_workspace);
  execute format($query$
    select count(*) from (
      select from chunk_vectors_p%s v
      where ragecho_reader_keys(v.workspace_id, v.readers) && $1 and v.workspace_id = $2 and v.readers && $3
        and v.space_id = $5 limit $4) x
    $query$, partition_number)
  into counted using ragecho_reader_keys(caller_workspace, caller_principals), caller_workspace, caller_principals, count_limit,
                     own_space;
  return counted;
end
$$;

grant create on schema public to ragecho_lexical, ragecho_login;
alter function ragecho_count_readable owner to ragecho_lexical;
alter function ragecho_spaces_in_use owner to ragecho_login;
revoke create on schema public from ragecho_lexical, ragecho_login;
revoke execute on function ragecho_count_readable, ragecho_spaces_in_use from public;
grant execute on function ragecho_count_readable, ragecho_spaces_in_use to ragecho_app;

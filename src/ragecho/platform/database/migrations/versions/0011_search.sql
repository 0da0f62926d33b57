-- Search at scale: whom the chunks are readable for is indexed and counted, so that a caller who may read little finds as
-- much in it as one who may read everything; and every change that a search could show moves the index's version.

-- Labels of readers as numbers, made from workspace and principal: `workspace` is a word of every tenant, and a posting list of
-- the shared index must not mix them. Two principals may meet in one number; the readers themselves are always compared, too.
create function ragecho_reader_keys(workspace uuid, readers text[]) returns integer[]
language sql immutable parallel safe strict
return (select array_agg(hashtextextended(reader, uuid_hash_extended(workspace, 0))::bit(32)::integer)
        from unnest(readers) as reader);
create index chunk_vectors_readers on chunk_vectors using gin (ragecho_reader_keys(workspace_id, readers))
  with (fastupdate = off);
create index chunk_terms_readers on chunk_terms using gin (ragecho_reader_keys(workspace_id, readers))
  with (fastupdate = off);

-- A denser graph: on 100 000 hard vectors recall@10 .92 for 3.4 ms of CPU time where m = 16, ef_construction = 64 gave .81 for
-- 2.9 ms and .90 for 5.2 ms; on 47 000 real ones .996 for 2.1 ms. Building it takes 2.5 times as long: a hundredth of embedding.
drop index chunk_vectors_hnsw_384;
create index chunk_vectors_hnsw_384 on chunk_vectors
  using hnsw ((embedding::halfvec(384)) halfvec_ip_ops) with (m = 24, ef_construction = 128)
  where vector_dims(embedding) = 384;

-- How many chunks carry a principal's label, changed in the transaction that changes the documents. Search chooses its way
-- by it: through what is readable, or through the graph.
create table reader_counts (
  workspace_id uuid not null references workspaces on delete cascade,
  principal    text not null,
  chunks       bigint not null,
  primary key (workspace_id, principal)
) with (fillfactor = 50);
alter table reader_counts enable row level security, force row level security;
create policy own on reader_counts for select to ragecho_app
  using (workspace_id = (select ragecho_workspace())
         and ((select ragecho_sees_all()) or principal = any ((select ragecho_principals())::text[])));
create policy lexical on reader_counts to ragecho_lexical using (true) with check (true);
grant select on reader_counts to ragecho_app;
grant select, insert, update, delete on reader_counts to ragecho_lexical;
create policy counted on index_statistics for update to ragecho_lexical using (true) with check (true);
grant update (version) on index_statistics to ragecho_lexical;
insert into reader_counts (workspace_id, principal, chunks)
select d.workspace_id, reader, sum(d.chunks) from documents d, unnest(d.readers) as reader
where d.chunks > 0 group by d.workspace_id, reader;

-- Documents change in transactions that hold the index's lock or their rows first, so counters are always locked last.
-- Progress and status of processing are no change of what can be found.
create function ragecho_count_inserted_readers() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog, public
as $$
begin
  insert into reader_counts as c (workspace_id, principal, chunks)
  select n.workspace_id, reader, sum(n.chunks) from new_rows n, unnest(n.readers) as reader
  where n.chunks > 0 group by n.workspace_id, reader order by n.workspace_id, reader
  on conflict (workspace_id, principal) do update set chunks = c.chunks + excluded.chunks;
  return null;
end
$$;
create function ragecho_count_changed_readers() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog, public
as $$
begin
  insert into reader_counts as c (workspace_id, principal, chunks)
  select x.workspace_id, x.principal, sum(x.chunks) from (
    select o.workspace_id, unnest(o.readers) as principal, -o.chunks as chunks
    from old_rows o join new_rows n on n.workspace_id = o.workspace_id and n.id = o.id
    where (o.readers, o.chunks) is distinct from (n.readers, n.chunks)
    union all
    select n.workspace_id, unnest(n.readers), n.chunks
    from old_rows o join new_rows n on n.workspace_id = o.workspace_id and n.id = o.id
    where (o.readers, o.chunks) is distinct from (n.readers, n.chunks)
  ) x group by x.workspace_id, x.principal having sum(x.chunks) <> 0 order by x.workspace_id, x.principal
  on conflict (workspace_id, principal) do update set chunks = c.chunks + excluded.chunks;
  update index_statistics set version = version + 1 where workspace_id in (
    select o.workspace_id from old_rows o join new_rows n on n.workspace_id = o.workspace_id and n.id = o.id
    where (o.chunks > 0 or n.chunks > 0)
      and (o.filename, o.title, o.content_type, o.tags, o.metadata, o.access, o.readers, o.chunks, o.current_version_id)
        is distinct from
          (n.filename, n.title, n.content_type, n.tags, n.metadata, n.access, n.readers, n.chunks, n.current_version_id));
  return null;
end
$$;
create function ragecho_count_deleted_readers() returns trigger
language plpgsql volatile security definer set search_path = pg_catalog, public
as $$
begin
  -- Nothing is inserted here: the workspace itself may be what is being deleted.
  update reader_counts c set chunks = c.chunks - gone.chunks from (
    select o.workspace_id, reader, sum(o.chunks) as chunks from old_rows o, unnest(o.readers) as reader
    where o.chunks > 0 group by o.workspace_id, reader order by o.workspace_id, reader
  ) gone where c.workspace_id = gone.workspace_id and c.principal = gone.reader;
  update index_statistics set version = version + 1
  where workspace_id in (select o.workspace_id from old_rows o where o.chunks > 0);
  return null;
end
$$;
create trigger count_inserted_readers after insert on documents referencing new table as new_rows
  for each statement execute function ragecho_count_inserted_readers();
create trigger count_changed_readers after update on documents referencing old table as old_rows new table as new_rows
  for each statement execute function ragecho_count_changed_readers();
create trigger count_deleted_readers after delete on documents referencing old table as old_rows
  for each statement execute function ragecho_count_deleted_readers();

-- How many chunks the caller may read, counted up to a limit: where the labels' sum says "perhaps few", because documents
-- carry many of the caller's labels at once.
create function ragecho_count_readable(count_limit integer) returns integer
language plpgsql stable security definer parallel restricted
set search_path = pg_catalog, public set max_parallel_workers_per_gather = 0
as $$
declare
  caller_workspace constant uuid := ragecho_workspace();
  caller_principals constant text[] := ragecho_principals();
  partition_number integer;
  counted integer;
begin
  if caller_workspace is null then
    return 0;
  end if;
  select n into partition_number from generate_series(0, 15) n
  where satisfies_hash_partition('chunk_vectors'::regclass, 16, n, caller_workspace);
  execute format($query$
    select count(*) from (
      select from chunk_vectors_p%s v
      where ragecho_reader_keys(v.workspace_id, v.readers) && $1 and v.workspace_id = $2 and v.readers && $3 limit $4) x
    $query$, partition_number)
  into counted using ragecho_reader_keys(caller_workspace, caller_principals), caller_workspace, caller_principals, count_limit;
  return counted;
end
$$;

-- The nearest of few: an exact scan of what the caller may read (`among` = readers) or of some documents (documents).
-- Under row-level security neither index could be used for it. What holds for the lexical candidates holds here: workspace and
-- principals come from the transaction's settings, ids and scores go back, and the caller's query joins them to tables with policies.
create function ragecho_nearest(
  query_space uuid, query_vector halfvec, among text, filter_documents uuid[], result_limit integer
) returns table (chunk_id uuid, score double precision)
language plpgsql stable security definer parallel restricted
set search_path = pg_catalog, public set max_parallel_workers_per_gather = 0
as $$
declare
  caller_workspace constant uuid := ragecho_workspace();
  caller_principals constant text[] := ragecho_principals();
  partition_number integer;
begin
  if caller_workspace is null then
    return;
  end if;
  select n into partition_number from generate_series(0, 15) n
  where satisfies_hash_partition('chunk_vectors'::regclass, 16, n, caller_workspace);
  return query execute format($query$
    select v.chunk_id, -(v.embedding <#> $1) as score from chunk_vectors_p%s v
    where v.workspace_id = $2 and v.space_id = $3 and ($4 or v.readers && $5) %s
    order by (v.embedding <#> $1) + 0, v.chunk_id limit $8 $query$,
    partition_number,
    case among when 'readers' then 'and ragecho_reader_keys(v.workspace_id, v.readers) && $6'
               when 'documents' then 'and v.document_id = any ($7)' else '' end)
  using query_vector, caller_workspace, query_space, ragecho_sees_all(), caller_principals,
        ragecho_reader_keys(caller_workspace, caller_principals), filter_documents, result_limit;
end
$$;

-- Lexical candidates, as before (0001_search.sql), and among few: where the caller may read little (`among` = readers) or a
-- filter leaves some documents (documents), rows are found by that, too, so that the cap is not spent on what is not readable.
-- A cap of null ranks everything among them that holds any term at all.
drop function ragecho_lexical_candidates;
create function ragecho_lexical_candidates(
  query_space uuid, query_terms integer[], query_weights real[], among text, filter_documents uuid[],
  candidate_cap integer, result_limit integer
) returns table (chunk_id uuid, score real)
language plpgsql stable security definer parallel restricted
set search_path = pg_catalog, public set max_parallel_workers_per_gather = 0
as $$
#variable_conflict use_column
declare
  caller_workspace constant uuid := ragecho_workspace();
  caller_principals constant text[] := ragecho_principals();
  total bigint;
  pruned integer[];
  query_vector sparsevec;
  partition_number integer;
begin
  if caller_workspace is null or cardinality(query_terms) = 0 then
    return;
  end if;
  select s.chunks into total from index_statistics s where s.workspace_id = caller_workspace and s.space_id = query_space;
  if coalesce(total, 0) = 0 then
    return;
  end if;

  -- The query half of BM25: inverse document frequency (Robertson/Sparck Jones, never negative) times the query weight.
  with known as (
    select q.term, f.chunks as frequency, q.weight * ln(1 + (total - f.chunks + 0.5) / (f.chunks + 0.5)) as idf
    from unnest(query_terms, query_weights) as q (term, weight)
    join term_frequencies f on f.workspace_id = caller_workspace and f.space_id = query_space and f.term = q.term
    where f.chunks > 0
  ), running as (
    select term, idf, sum(frequency) over rarest_first as up_to_here, row_number() over rarest_first as place
    from known window rarest_first as (order by frequency, term rows unbounded preceding)
  )
  select array_agg(term) filter (where up_to_here <= candidate_cap or place = 1),
         ('{' || string_agg(term || ':' || idf::real, ',' order by term) || '}/1000000000')::sparsevec
  into pruned, query_vector from running;
  if query_vector is null then
    return;
  end if;

  -- Planning over all partitions costs a millisecond, and a generic plan would
  -- not know how rare the terms are. The partition is therefore named, and planned with the values of this very query.
  select n into partition_number from generate_series(0, 15) n
  where satisfies_hash_partition('chunk_terms'::regclass, 16, n, caller_workspace);

  return query execute format($query$
    select t.chunk_id, (-(t.weights <#> $1))::real as score
    from chunk_terms_p%s t
    where t.workspace_id = $2 and t.space_id = $3 and ($5 or t.readers && $6) %s %s
    order by t.weights <#> $1, t.chunk_id
    limit $9 $query$,
    partition_number,
    case when candidate_cap is null then 'and t.weights <#> $1 < 0' else 'and t.terms && $4' end,
    case among when 'readers' then 'and ragecho_reader_keys(t.workspace_id, t.readers) && $7'
               when 'documents' then 'and t.document_id = any ($8)' else '' end)
  using query_vector, caller_workspace, query_space, pruned, ragecho_sees_all(), caller_principals,
        ragecho_reader_keys(caller_workspace, caller_principals), filter_documents, result_limit;
end
$$;

do $$
begin
  for n in 0..15 loop
    execute format('create policy nearest on chunk_vectors_p%s for select to ragecho_lexical using (true)', n);
    execute format('grant select on chunk_vectors_p%s to ragecho_lexical', n);
  end loop;
end
$$;
grant create on schema public to ragecho_lexical;
alter function ragecho_lexical_candidates owner to ragecho_lexical;
alter function ragecho_nearest owner to ragecho_lexical;
alter function ragecho_count_readable owner to ragecho_lexical;
alter function ragecho_count_inserted_readers owner to ragecho_lexical;
alter function ragecho_count_changed_readers owner to ragecho_lexical;
alter function ragecho_count_deleted_readers owner to ragecho_lexical;
revoke create on schema public from ragecho_lexical;
revoke execute on function ragecho_lexical_candidates, ragecho_nearest, ragecho_count_readable,
  ragecho_count_inserted_readers, ragecho_count_changed_readers, ragecho_count_deleted_readers from public;
grant execute on function ragecho_lexical_candidates, ragecho_nearest, ragecho_count_readable to ragecho_app;

-- Keys of readers and of terms hold their workspace: whoever looks by them has no use for an index of the workspace's rows. Where a
-- workspace had some tenth of its partition the planner read all of the workspace's entries besides, to intersect them. A condition
-- that no index serves says the same and costs nothing. Otherwise as before (0011_search.sql).
drop function ragecho_nearest;
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
    where %s and v.space_id = $3 and ($4 or v.readers && $5) %s
    order by (v.embedding <#> $1) + 0, v.chunk_id limit $8 $query$,
    partition_number,
    case among when 'documents' then 'v.workspace_id = $2' else 'v.workspace_id is not distinct from $2' end,
    case among when 'readers' then 'and ragecho_reader_keys(v.workspace_id, v.readers) && $6'
               when 'documents' then 'and v.document_id = any ($7)' else '' end)
  using query_vector, caller_workspace, query_space, ragecho_sees_all(), caller_principals,
        ragecho_reader_keys(caller_workspace, caller_principals), filter_documents, result_limit;
end
$$;

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
    where %s and t.space_id = $3 and ($5 or t.readers && $6) %s %s
    order by t.weights <#> $1, t.chunk_id
    limit $9 $query$,
    partition_number,
    case when among = 'documents' or among <> 'readers' and candidate_cap is null then 't.workspace_id = $2'
         else 't.workspace_id is not distinct from $2' end,
    case when candidate_cap is null then 'and t.weights <#> $1 < 0' else 'and t.terms && $4' end,
    case among when 'readers' then 'and ragecho_reader_keys(t.workspace_id, t.readers) && $7'
               when 'documents' then 'and t.document_id = any ($8)' else '' end)
  using query_vector, caller_workspace, query_space, pruned, ragecho_sees_all(), caller_principals,
        ragecho_reader_keys(caller_workspace, caller_principals), filter_documents, result_limit;
end
$$;

grant create on schema public to ragecho_lexical;
alter function ragecho_lexical_candidates owner to ragecho_lexical;
alter function ragecho_nearest owner to ragecho_lexical;
revoke create on schema public from ragecho_lexical;
revoke execute on function ragecho_lexical_candidates, ragecho_nearest from public;
grant execute on function ragecho_lexical_candidates, ragecho_nearest to ragecho_app;

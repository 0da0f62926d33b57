-- Chunks that hold all of some terms, whatever they score: an identifier's parts may each stand in thousands of chunks. What
-- holds for the lexical candidates (0011_search.sql) holds here: workspace and principals come from the transaction's
-- settings, ids go back, and the caller's query joins them to tables with policies.
create function ragecho_chunks_with_all(query_space uuid, query_terms integer[], result_limit integer)
returns table (chunk_id uuid)
language plpgsql stable security definer parallel restricted
set search_path = pg_catalog, public set max_parallel_workers_per_gather = 0 set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  caller_workspace constant uuid := ragecho_workspace();
  caller_principals constant text[] := ragecho_principals();
  partition_number integer;
begin
  if caller_workspace is null or cardinality(query_terms) = 0 then
    return;
  end if;
  select n into partition_number from generate_series(0, 15) n
  where satisfies_hash_partition('chunk_terms'::regclass, 16, n, caller_workspace);
  return query execute format($query$
    select t.chunk_id from chunk_terms_p%s t
    where t.workspace_id = $1 and t.space_id = $2 and t.terms @> $3 and ($4 or t.readers && $5)
    limit $6 $query$, partition_number)
  using caller_workspace, query_space, query_terms, ragecho_sees_all(), caller_principals, result_limit;
end
$$;
grant create on schema public to ragecho_lexical;
alter function ragecho_chunks_with_all owner to ragecho_lexical;
revoke create on schema public from ragecho_lexical;
revoke execute on function ragecho_chunks_with_all from public;
grant execute on function ragecho_chunks_with_all to ragecho_app;

-- Lexical candidates. Under row-level security the GIN index cannot be used (`&&` is not leakproof), so this one
-- function reads the lexical index as a role that owns nothing else. It takes the workspace and principals from the
-- transaction's settings, never as arguments, and returns ids and scores only; the caller's query joins them back to
-- policy-protected tables. Without a caller the settings are null and nothing matches.
--
-- Small workspaces are ranked exactly. In large ones the query's rarest terms are taken until their document frequencies
-- add up to candidate_cap; the rows that hold any of them are ranked by the exact BM25 over all query terms.
create function ragecho_lexical_candidates(
  query_space uuid, query_terms integer[], query_weights real[], filter_tags text[], filter_documents uuid[],
  candidate_cap integer, result_limit integer
) returns table (chunk_id uuid, score real)
language plpgsql stable security definer parallel restricted
set search_path = pg_catalog, public
as $$
#variable_conflict use_column
declare
  caller_workspace constant uuid := ragecho_workspace();
  caller_principals constant text[] := ragecho_principals();
  caller_sees_all constant boolean := ragecho_sees_all();
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
    where t.workspace_id = $2 and t.space_id = $3
      and t.terms && $4
      and ($5 or t.readers && $6)
      and ($7 is null or t.document_id = any ($7))
      and ($8 is null or t.document_id in (select d.id from documents d where d.workspace_id = $2 and d.tags @> $8))
    order by t.weights <#> $1, t.chunk_id
    limit $9 $query$, partition_number)
  using query_vector, caller_workspace, query_space, pruned, caller_sees_all, caller_principals, filter_documents,
        filter_tags, result_limit;
end
$$;

-- What an API key stands for, looked up by the digest of its secret before there is a caller. Returns no row for keys
-- that are unknown, expired or revoked, or whose owner is disabled.
create function ragecho_authenticate_api_key(digest bytea)
returns table (key_id uuid, organization_id uuid, workspace_id uuid, workspace_slug text, user_id uuid, scopes text[])
language plpgsql volatile security definer
set search_path = pg_catalog, public
as $$
#variable_conflict use_column
declare
  key record;
begin
  select k.id, k.organization_id, k.workspace_id, w.slug, k.user_id, k.scopes, k.last_used_at into key
  from api_keys k join workspaces w on w.id = k.workspace_id left join users u on u.id = k.user_id
  where k.secret_sha256 = digest and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
    and not coalesce(u.is_disabled, false);
  if not found then
    return;
  end if;
  -- To the minute is exact enough, and keeps reads from writing.
  if key.last_used_at is null or key.last_used_at < now() - interval '1 minute' then
    update api_keys set last_used_at = now() where id = key.id;
  end if;
  return query select key.id, key.organization_id, key.workspace_id, key.slug, key.user_id, key.scopes;
end
$$;

do $$
begin
  for n in 0..15 loop
    execute format('create policy lexical on chunk_terms_p%s for select to ragecho_lexical using (true)', n);
    execute format('grant select on chunk_terms_p%s to ragecho_lexical', n);
  end loop;
end
$$;
create policy lexical on term_frequencies for select to ragecho_lexical using (true);
create policy lexical on index_statistics for select to ragecho_lexical using (true);
create policy lexical on documents for select to ragecho_lexical using (true);
grant select on term_frequencies, index_statistics to ragecho_lexical;
grant select (workspace_id, id, tags) on documents to ragecho_lexical;

create policy login on api_keys to ragecho_login using (true);
create policy login on workspaces for select to ragecho_login using (true);
create policy login on users for select to ragecho_login using (true);
grant select on api_keys, workspaces to ragecho_login;
grant select (id, is_disabled) on users to ragecho_login;
grant update (last_used_at) on api_keys to ragecho_login;

grant create on schema public to ragecho_lexical, ragecho_login;
alter function ragecho_lexical_candidates owner to ragecho_lexical;
alter function ragecho_authenticate_api_key owner to ragecho_login;
revoke create on schema public from ragecho_lexical, ragecho_login;
revoke execute on function ragecho_lexical_candidates, ragecho_authenticate_api_key from public;
grant execute on function ragecho_lexical_candidates, ragecho_authenticate_api_key to ragecho_app;

-- Putting a vector into the graph is half of what indexing a small document costs the database, and changing its readers puts it
-- there again; a workspace below 20 000 chunks is scanned and never uses it. So vectors enter the graph once their workspace has
-- grown: `graph` says none of them, some of them (growing), or all (whole), and only a whole one is searched.
alter table chunk_vectors add column in_graph boolean not null default true; -- what is stored now is there
alter table chunk_vectors alter column in_graph set default false;
alter table index_statistics add column graph text not null default 'none' check (graph in ('none', 'growing', 'whole'));
update index_statistics set graph = 'whole' where chunks > 0;

-- As before (0012_spaces.sql), of the vectors that are in the graph.
create or replace function ragecho_make_graph(dimensions integer) returns boolean
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
    ' where in_graph and vector_dims(embedding) = %1$s', dimensions);
  return true;
end
$$;

do $$
declare
  found record;
begin
  for found in select c.relname, substring(c.relname from '\d+$')::integer as dimensions from pg_class c
               where c.relkind = 'I' and c.relname ~ '^chunk_vectors_hnsw_\d+$' loop
    execute format('drop index %I', found.relname);
    perform ragecho_make_graph(found.dimensions);
  end loop;
end
$$;

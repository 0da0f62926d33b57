-- BM25 with k1 = 0.7 and b = 0.5 instead of Lucene's 1.2 and 0.75: in passages a word's second occurrence says less than in long
-- documents (for MS MARCO's passages 0.82 and 0.68 are usual). docs/how-to/evaluate.md has what was measured.
create or replace function ragecho_bm25_weights(terms integer[], frequencies smallint[], length integer, average_length real)
returns sparsevec language sql immutable parallel safe
return (
  -- A chunk may have no terms at all (stop words, punctuation): its vector of weights is empty then, not missing.
  select ('{' || coalesce(string_agg(
    t.term || ':' || (t.tf * 1.7 / (t.tf + 0.7 * (0.5 + 0.5 * length / greatest(average_length, 1))))::real, ','), '')
    || '}/1000000000')::sparsevec
  from unnest(terms, frequencies) as t (term, tf)
);

-- Every stored weight is made again, those of archived workspaces too: nothing that people wrote changes. The migrating user owns the
-- tables but is not exempt from their policies while these are forced. About a minute for half a million passages.
alter table chunk_terms no force row level security;
alter table index_statistics no force row level security;
alter table chunk_terms disable trigger refuse_when_archived;
update chunk_terms c set weights = ragecho_bm25_weights(c.terms, c.frequencies, c.length, s.weights_length)
from index_statistics s where s.workspace_id = c.workspace_id and s.space_id = c.space_id;
update index_statistics set version = version + 1;
alter table chunk_terms enable trigger refuse_when_archived;
alter table index_statistics force row level security;
alter table chunk_terms force row level security;

-- BM25 with k1 = 0.7 and b = 0.5 instead of Lucene's 1.2 and 0.75: in passages a word's second occurrence says less than in long
-- documents (for MS MARCO's passages 0.82 and 0.68 are usual). docs/how-to/evaluate.md has what was measured.
--
-- Weights that are stored stay as they are: nobody should wait for a large index to be rewritten at the start of a new release. A
-- single occurrence in a chunk of average length weighs 1 either way, so old and new ones go together. What an index holds is made
-- again when its average length has drifted, and by `ragecho index rebuild`.
create or replace function ragecho_bm25_weights(terms integer[], frequencies smallint[], length integer, average_length real)
returns sparsevec language sql immutable parallel safe
return (
  -- A chunk may have no terms at all (stop words, punctuation): its vector of weights is empty then, not missing.
  select ('{' || coalesce(string_agg(
    t.term || ':' || (t.tf * 1.7 / (t.tf + 0.7 * (0.5 + 0.5 * length / greatest(average_length, 1))))::real, ','), '')
    || '}/1000000000')::sparsevec
  from unnest(terms, frequencies) as t (term, tf)
);

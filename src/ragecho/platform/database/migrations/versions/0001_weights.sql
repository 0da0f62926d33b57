-- The document half of BM25 (k1 = 1.2, b = 0.75: Lucene's defaults, within noise of the best on four suites), one weight per
-- distinct term:
-- tf (k1 + 1) / (tf + k1 (1 - b + b length / average_length)). The query half is the inverse document frequency.
create function ragecho_bm25_weights(terms integer[], frequencies smallint[], length integer, average_length real)
returns sparsevec language sql immutable parallel safe
return (
  -- A chunk may have no terms at all (stop words, punctuation): its vector of weights is empty then, not missing.
  select ('{' || coalesce(string_agg(
    t.term || ':' || (t.tf * 2.2 / (t.tf + 1.2 * (0.25 + 0.75 * length / greatest(average_length, 1))))::real, ','), '')
    || '}/1000000000')::sparsevec
  from unnest(terms, frequencies) as t (term, tf)
);

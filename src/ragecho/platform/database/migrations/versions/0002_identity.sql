-- The identity service: clients, grants, codes, tokens, signing keys, and the role that alone reads them.
do $$
begin
  begin
    create role ragecho_identity nologin nosuperuser nobypassrls;
  exception when duplicate_object or unique_violation then null; -- another database of this server made it
  end;
  if not pg_has_role(current_user, 'ragecho_identity', 'set') then
    grant ragecho_identity to current_user with set true, inherit false;
  end if;
end
$$;
grant usage on schema public to ragecho_identity;

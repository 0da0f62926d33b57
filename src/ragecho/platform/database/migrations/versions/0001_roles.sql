-- Roles are shared by all databases of a server, so each is created only where it is missing.
-- ragecho_app      what the application runs as: owns nothing, cannot bypass row-level security.
-- ragecho_lexical  owner of the lexical candidate function; reads the lexical index of the caller in the settings.
-- ragecho_login    owner of the credential look-up; reads API keys before there is a caller.
do $$
declare
  role_name text;
begin
  foreach role_name in array array['ragecho_app', 'ragecho_lexical', 'ragecho_login'] loop
    begin
      execute format('create role %I nologin nosuperuser nobypassrls', role_name);
    exception when duplicate_object or unique_violation then null; -- another database of this server made it
    end;
    -- The migrating user hands functions over to these roles and runs the application as ragecho_app: it must be able to
    -- become them, which making them alone does not allow. It inherits nothing.
    if not pg_has_role(current_user, role_name, 'set') then
      execute format('grant %I to current_user with set true, inherit false', role_name);
    end if;
  end loop;
end
$$;

create extension if not exists vector;

grant usage on schema public to ragecho_app, ragecho_lexical, ragecho_login;

// OIDF plan "Config".
import { test } from "node:test";
import { ARRAYS, checkEndpoints, checkKeys, discover } from "./lib/metadata.mjs";
import { assert, ISSUER, register } from "./lib/relying_party.mjs";

test("oidcc-discovery-endpoint-verification", async () => {
  const metadata = await discover();
  assert.equal(metadata.issuer, ISSUER, "the issuer is what the document's address was made from");
  const issuer = new URL(metadata.issuer);
  assert.equal(issuer.search + issuer.hash, "");
  for (const name of ARRAYS) {
    if (name in metadata) assert.ok(Array.isArray(metadata[name]) && metadata[name].length > 0, `${name} is a list`);
  }
  assert.ok(metadata.response_types_supported.includes("code"));
  assert.ok(!metadata.response_types_supported.some((type) => /token/.test(type)), "no implicit or hybrid flow");
  assert.ok(metadata.subject_types_supported.every((type) => ["public", "pairwise"].includes(type)));
  assert.ok(metadata.id_token_signing_alg_values_supported.includes("RS256"));
  assert.ok(!metadata.id_token_signing_alg_values_supported.includes("none"));
  for (const name of ["authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "registration_endpoint"]) {
    assert.ok(metadata[name], `${name} is published`);
  }
  checkEndpoints(metadata);
  await checkKeys(metadata.jwks_uri);
  assert.ok(metadata.claims_supported.includes("sub"));
  assert.ok(metadata.grant_types_supported.includes("authorization_code"));
  assert.ok(!metadata.grant_types_supported.some((type) => ["implicit", "password"].includes(type)));
  assert.ok(metadata.scopes_supported.includes("openid"));
  for (const scope of metadata.scopes_supported) assert.match(scope, /^[\x21\x23-\x5b\x5d-\x7e]+$/);
  for (const locale of metadata.ui_locales_supported ?? []) assert.equal(Intl.getCanonicalLocales(locale)[0], locale);
  assert.deepEqual(metadata.code_challenge_methods_supported, ["S256"]);
  assert.equal(metadata.authorization_response_iss_parameter_supported, true);
  // Whether these two are there is the provider's choice, but it has to say so: request_uri defaults to true.
  assert.equal(typeof metadata.request_uri_parameter_supported, "boolean");
  assert.equal(typeof metadata.claims_parameter_supported, "boolean");
  await register();
});

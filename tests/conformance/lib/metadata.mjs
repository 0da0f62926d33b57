// What the provider publishes about itself: its metadata and its keys.
import { assert, ISSUER, jose, json } from "./relying_party.mjs";

const PRIVATE = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
export const ARRAYS = [
  "response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported", "scopes_supported",
  "grant_types_supported", "claims_supported", "code_challenge_methods_supported", "response_modes_supported",
  "token_endpoint_auth_methods_supported", "acr_values_supported", "ui_locales_supported", "claims_locales_supported",
  "prompt_values_supported", "display_values_supported", "claim_types_supported",
];

export function checkEndpoints(metadata) {
  const issuer = new URL(ISSUER);
  for (const [name, value] of Object.entries(metadata)) {
    if (!/(_endpoint|_uri)$/.test(name)) continue;
    const url = new URL(value);
    // OIDF asks for https everywhere; on loopback it is the issuer's scheme, and never another host.
    assert.equal(url.protocol, issuer.protocol, `${name} has the issuer's scheme`);
    assert.equal(url.host, issuer.host, `${name} is at the issuer's host`);
    assert.equal(url.hash, "");
  }
}

export async function discover() {
  const answer = await fetch(`${ISSUER}/.well-known/openid-configuration`);
  assert.equal(answer.status, 200);
  return json(answer);
}

export async function checkKeys(uri) {
  const answer = await fetch(uri);
  assert.equal(answer.status, 200);
  const { keys } = await answer.json();
  assert.ok(keys.length > 0);
  for (const key of keys) {
    assert.ok(key.kid, "every key has a kid");
    for (const member of PRIVATE) assert.equal(key[member], undefined, `the published key has no '${member}'`);
    assert.ok(["EC", "RSA", "OKP"].includes(key.kty));
    for (const member of ["x", "y", "n", "e"]) if (member in key) assert.match(key[member], /^[A-Za-z0-9_-]+$/);
    await jose.importJWK(key, key.alg);
  }
  assert.equal(new Set(keys.map((key) => key.kid)).size, keys.length, "kids are distinct");
  return keys;
}

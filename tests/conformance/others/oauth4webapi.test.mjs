// `oauth4webapi` used directly, step by step, with nothing that a higher-level client would smooth over.
import { test } from "node:test";
import * as oauth from "oauth4webapi";
import { arrive, assert, Browser, ISSUER, person } from "../lib/relying_party.mjs";

const REDIRECT_URI = "https://rp.example/callback";
const loopback = { [oauth.allowInsecureRequests]: true };

test("oauth4webapi", async () => {
  const as = await oauth.processDiscoveryResponse(new URL(ISSUER), await oauth.discoveryRequest(new URL(ISSUER), loopback));
  const registered = await oauth.processDynamicClientRegistrationResponse(
    await oauth.dynamicClientRegistrationRequest(
      as,
      {
        client_name: "oauth4webapi",
        redirect_uris: [REDIRECT_URI],
        grant_types: ["authorization_code", "refresh_token"],
        response_types: ["code"],
        token_endpoint_auth_method: "client_secret_basic",
      },
      loopback,
    ),
  );
  const client = { client_id: registered.client_id, id_token_signed_response_alg: registered.id_token_signed_response_alg };
  const authentication = oauth.ClientSecretBasic(registered.client_secret);

  const verifier = oauth.generateRandomCodeVerifier();
  const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()];
  const url = new URL(as.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id: client.client_id, redirect_uri: REDIRECT_URI, response_type: "code", scope: "openid email offline_access",
    prompt: "consent", code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
    state, nonce,
  }).toString();
  const who = person();
  const { page } = await arrive(new Browser(ISSUER), url, { who });
  const callback = oauth.validateAuthResponse(as, client, page.left, state);

  const response = await oauth.authorizationCodeGrantRequest(as, client, authentication, callback, REDIRECT_URI, verifier, loopback);
  const tokens = await oauth.processAuthorizationCodeResponse(as, client, response, { expectedNonce: nonce, requireIdToken: true });
  await oauth.validateApplicationLevelSignature(as, response, loopback);
  const { sub } = oauth.getValidatedIdTokenClaims(tokens);

  const told = await oauth.processUserInfoResponse(as, client, sub, await oauth.userInfoRequest(as, client, tokens.access_token, loopback));
  assert.equal(told.email, who.email);

  const refreshed = await oauth.processRefreshTokenResponse(
    as, client, await oauth.refreshTokenGrantRequest(as, client, authentication, tokens.refresh_token, loopback),
  );
  const seen = await introspect(as, client, authentication, refreshed.access_token);
  assert.equal(seen.active, true);
  assert.equal(seen.sub, sub);
  await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, authentication, refreshed.refresh_token, loopback));
  assert.equal((await introspect(as, client, authentication, refreshed.access_token)).active, false);
});

async function introspect(as, client, authentication, token) {
  return oauth.processIntrospectionResponse(as, client, await oauth.introspectionRequest(as, client, authentication, token, loopback));
}

// A relying party made of the npm `openid-client`, with every check that it can do switched on, and a person with a
// browser who signs in at the provider's own pages.
import assert from "node:assert/strict";
import * as jose from "jose";
import * as openid from "openid-client";
import { Browser } from "./browser.mjs";

export const ISSUER = process.env.ECHO_ISSUER;
export const REDIRECT_URI = "https://rp.example/callback";
export const AFTER_LOGOUT_URI = "https://rp.example/signed-out";
const PEOPLE = JSON.parse(process.env.ECHO_PEOPLE ?? "[]");
const REGISTRATION_TOKEN = process.env.ECHO_REGISTRATION_TOKEN || undefined;
const MAX_PAGES = 8;
let nextPerson = 0;

const execute = [openid.allowInsecureRequests, openid.enableNonRepudiationChecks];

/** Somebody who can sign in. Each call gives the next one, so that modules do not share a person's attempts. */
export function person() {
  nextPerson = (nextPerson + 1) % PEOPLE.length;
  return PEOPLE[nextPerson];
}

/** Register a client dynamically, as the OIDF suite's `dynamic_client` variant does. */
export async function register(metadata = {}, authentication = undefined) {
  const configuration = await openid.dynamicClientRegistration(
    new URL(ISSUER),
    {
      client_name: "Conformance",
      redirect_uris: [REDIRECT_URI],
      post_logout_redirect_uris: [AFTER_LOGOUT_URI],
      grant_types: ["authorization_code"],
      response_types: ["code"],
      token_endpoint_auth_method: "client_secret_basic",
      ...metadata,
    },
    // The method that the client registered for is the one that is used.
    authentication ?? ((server, client, body, headers) => METHODS[client.token_endpoint_auth_method](client)(server, client, body, headers)),
    { execute, initialAccessToken: REGISTRATION_TOKEN },
  );
  return new RelyingParty(configuration);
}

const METHODS = {
  client_secret_basic: (client) => openid.ClientSecretBasic(client.client_secret),
  client_secret_post: (client) => openid.ClientSecretPost(client.client_secret),
  none: () => openid.None(),
};

export class RelyingParty {
  constructor(configuration) {
    this.configuration = configuration;
    this.server = configuration.serverMetadata();
    this.client = configuration.clientMetadata();
    assert.equal(this.server.issuer, ISSUER);
  }

  /**
   * Prepare an authorization request. PKCE is always sent, because Echo insists on it; `parameters` are added, and one
   * that is undefined is left out.
   */
  async request(parameters = {}, { stateLength = 0 } = {}) {
    const verifier = openid.randomPKCECodeVerifier();
    const all = {
      response_type: "code",
      client_id: this.client.client_id,
      redirect_uri: REDIRECT_URI,
      scope: "openid",
      state: openid.randomState().padEnd(stateLength, "s"),
      nonce: openid.randomNonce(),
      code_challenge: await openid.calculatePKCECodeChallenge(verifier),
      code_challenge_method: "S256",
      ...parameters,
    };
    for (const [name, value] of Object.entries(all)) if (value === undefined) delete all[name];
    const url = new URL(this.server.authorization_endpoint);
    for (const [name, value] of Object.entries(all)) url.searchParams.set(name, value);
    return { url, verifier, parameters: all };
  }

  /** Exchange what the browser came back with; `openid-client` checks state, iss, nonce, signature, aud, exp, at_hash. */
  async redeem(request, callback, { maxAge } = {}) {
    // The client derives the redirect URI from where it was called, and would leave out a registered query.
    this.configuration[openid.customFetch] = (url, options) => {
      if (options.body?.get?.("redirect_uri")) options.body.set("redirect_uri", request.parameters.redirect_uri);
      return fetch(url, options);
    };
    return openid.authorizationCodeGrant(this.configuration, callback, {
      pkceCodeVerifier: request.verifier,
      expectedNonce: request.parameters.nonce,
      expectedState: request.parameters.state,
      idTokenExpected: true,
      maxAge,
    });
  }

  /** The whole happy flow, with the checks that every OIDF module makes on the way. */
  async signIn({ browser = new Browser(ISSUER), who = person(), parameters = {}, stateLength = 0, method, maxAge } = {}) {
    const request = await this.request(parameters, { stateLength });
    const visit = await arrive(browser, request.url, { who, method });
    assert.ok(visit.page.left, `the provider did not send us back but showed: ${visit.page.status} ${visit.page.text}`);
    checkCallback(visit.page.left, request);
    const tokens = await this.redeem(request, visit.page.left, { maxAge });
    const idToken = await this.checkIdToken(tokens, request);
    assert.match(tokens.token_type, /^bearer$/i);
    assert.ok(tokens.expires_in > 0, "expires_in is told");
    const userinfo = await openid.fetchUserInfo(this.configuration, tokens.access_token, idToken.claims.sub);
    return { browser, who, request, callback: visit.page.left, screens: visit.screens, tokens, idToken, userinfo };
  }

  /** Verify an ID token a second time, with `jose` and the published keys, and return its header and claims. */
  async checkIdToken(tokens, request) {
    const keys = jose.createLocalJWKSet(await this.keys());
    const { payload, protectedHeader } = await jose.jwtVerify(tokens.id_token, keys, {
      issuer: ISSUER,
      audience: this.client.client_id,
      requiredClaims: ["iss", "sub", "aud", "exp", "iat"],
    });
    assert.ok(protectedHeader.kid, "the ID token names its key");
    assert.equal(protectedHeader.alg, this.client.id_token_signed_response_alg ?? protectedHeader.alg);
    assert.notEqual(protectedHeader.alg, "none");
    if (request.parameters.nonce) assert.equal(payload.nonce, request.parameters.nonce);
    assert.ok(payload.sub.length <= 255);
    assert.ok(Math.abs(payload.iat - Date.now() / 1000) < 300, "iat is now");
    return { header: protectedHeader, claims: payload, jwt: tokens.id_token };
  }

  async keys() {
    const answer = await fetch(this.server.jwks_uri);
    assert.equal(answer.status, 200);
    return answer.json();
  }

  /** Post to the token endpoint by hand, for requests that no proper client would make. */
  async token(parameters) {
    const { client_id: id, client_secret: secret } = this.client;
    return fetch(this.server.token_endpoint, {
      method: "POST",
      headers: {
        authorization: `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString("base64")}`,
        "content-type": "application/x-www-form-urlencoded",
      },
      body: new URLSearchParams(parameters),
    });
  }
}

/** Open an authorization request and answer what the pages ask until we are sent away or a page asks nothing. */
export async function arrive(browser, url, { who = person(), method = "GET", consent = true } = {}) {
  const target = new URL(url);
  let page;
  if (method === "POST") {
    const body = target.searchParams.toString();
    target.search = "";
    page = await browser.visit(target, { method, body });
  } else {
    page = await browser.visit(target);
  }
  const screens = [];
  for (let step = 0; !page.left && step < MAX_PAGES; step += 1) {
    const next = screenOf(page);
    if (!next) break;
    screens.push(next.name);
    page = await next.answer(browser, page, who, consent);
  }
  return { page, screens };
}

/** Which of the provider's questions a page asks; undefined where it asks none. */
function screenOf(page) {
  if (page.status >= 400) return undefined;
  const login = page.form((form) => form.querySelector("input[type=password]"));
  if (login) return { name: "login", answer: (browser, at, who) => browser.submit(at, login, credentials(login, who)) };
  const consent = page.form((form) => form.querySelector("button[name=decision], input[name=decision]"));
  if (!consent) return undefined;
  return {
    name: "consent",
    answer: (browser, at, who, agrees) => browser.submit(at, consent, {}, buttonOf(consent, agrees)),
  };
}

function credentials(form, who) {
  const email = form.querySelector("input[type=email], input[autocomplete*=username], input[name=email]");
  const password = form.querySelector("input[type=password]");
  return { [email.getAttribute("name")]: who.email, [password.getAttribute("name")]: who.password };
}

function buttonOf(form, agrees) {
  const wanted = agrees ? /^(allow|approve|accept|yes)$/ : /^(deny|reject|cancel|no)$/;
  const button = form.querySelectorAll("[name=decision]").find((one) => wanted.test(one.getAttribute("value") ?? ""));
  assert.ok(button, "the consent page has a button for each answer");
  return button;
}

/** What every successful authorization response must be: at the redirect URI, our state, iss (RFC 9207), and a code. */
export function checkCallback(callback, request) {
  const expected = new URL(request.parameters.redirect_uri);
  assert.equal(callback.origin + callback.pathname, expected.origin + expected.pathname);
  assert.equal(callback.hash, "", "the code flow answers in the query");
  assert.equal(callback.searchParams.get("error"), null, `refused: ${callback.searchParams.get("error_description")}`);
  checkEcho(callback, request);
  const code = callback.searchParams.get("code") ?? "";
  // RFC 6749, 10.10: a guess must succeed with a probability of 2^-128 at most (a base64url character holds 6 bits).
  assert.ok(code.length >= 22, "the code has 128 bits or more");
  return code;
}

/** What every error response must be: at the redirect URI, our state, iss, and a registered error. */
export function checkErrorCallback(callback, request, errors) {
  const expected = new URL(request.parameters.redirect_uri ?? REDIRECT_URI);
  assert.equal(callback.origin + callback.pathname, expected.origin + expected.pathname);
  assert.equal(callback.searchParams.get("code"), null);
  checkEcho(callback, request);
  const error = callback.searchParams.get("error");
  assert.ok(errors.includes(error), `error is ${error}, not one of ${errors}`);
  assert.match(callback.searchParams.get("error_description") ?? "", /^[\x20-\x21\x23-\x5b\x5d-\x7e]*$/);
  return error;
}

function checkEcho(callback, request) {
  assert.equal(callback.searchParams.get("state"), request.parameters.state ?? null);
  assert.equal(callback.searchParams.get("iss"), ISSUER);
}

/** The person sees an error page of the provider, and was not sent anywhere. */
export function checkErrorPage(page) {
  assert.equal(page.left, undefined, `sent away to ${page.left}`);
  assert.ok(page.status >= 400 && page.status < 500, `an error page has a 4xx status, not ${page.status}`);
  assert.match(page.headers.get("content-type"), /text\/html/);
  assert.ok(page.text.length > 0);
  assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'none'/);
}

export async function json(response) {
  assert.match(response.headers.get("content-type") ?? "", /application\/json/);
  return response.json();
}

export { assert, jose, openid, Browser };

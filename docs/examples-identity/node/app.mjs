// An API of your own that Echo's identity service protects.
import { createServer } from 'node:http'
import { createRemoteJWKSet, jwtVerify } from 'jose'

const { ECHO_ISSUER, ECHO_AUDIENCE, PORT = '8001' } = process.env
if (!ECHO_ISSUER || !ECHO_AUDIENCE) {
  throw new Error('ECHO_ISSUER and ECHO_AUDIENCE are not set: start with `node --env-file=.env app.mjs`.')
}
const keys = createRemoteJWKSet(new URL(`${ECHO_ISSUER}/jwks.json`)) // fetched once, and again when they rotate
const rules = { issuer: ECHO_ISSUER, audience: ECHO_AUDIENCE, typ: 'at+jwt', algorithms: ['ES256', 'EdDSA', 'RS256'] }

/** Return the token's claims, or throw what to answer with. */
async function currentUser(request, ...scopes) {
  const token = /^bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1]
  if (!token) {
    throw { status: 401, challenge: 'Bearer realm="echo"', detail: `Send an access token of ${ECHO_ISSUER}: 'Authorization: Bearer <token>'.` }
  }
  const { payload } = await jwtVerify(token, keys, { ...rules, requiredClaims: ['sub', 'client_id', 'exp', 'iat'] }).catch((error) => {
    const why = error.claim === 'aud' ? `it is for another audience than ${ECHO_AUDIENCE}` : error.code
    throw { status: 401, challenge: 'Bearer realm="echo", error="invalid_token"', detail: `The token does not count: ${why}.` }
  })
  const held = new Set((payload.scope ?? '').split(' '))
  if (!scopes.every((scope) => held.has(scope))) {
    const needed = scopes.join(' ')
    throw { status: 403, challenge: `Bearer realm="echo", error="insufficient_scope", scope="${needed}"`, detail: `The token lacks the scope ${needed}.` }
  }
  return payload
}

createServer(async (request, response) => {
  const scope = request.method === 'POST' ? 'documents:write' : 'documents:read'
  try {
    const user = await currentUser(request, scope)
    response.writeHead(200, { 'Content-Type': 'application/json' })
    response.end(JSON.stringify({ reports: ['2026-q3'], caller: user.sub }))
  } catch ({ status = 500, challenge, detail = 'Something went wrong.' }) {
    response.writeHead(status, { 'Content-Type': 'application/json', ...(challenge && { 'WWW-Authenticate': challenge }) })
    response.end(JSON.stringify({ detail }))
  }
}).listen(Number(PORT), '127.0.0.1', () => console.log(`Reports are at http://127.0.0.1:${PORT}/reports`))

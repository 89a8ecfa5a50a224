// Runs oidc-provider on 127.0.0.1, obtains tokens of every kind and algorithm from it as its clients would,
// prints {"issuer", "tokens"} as one line of JSON, and goes on serving its metadata and keys until
// standard input ends.
import { generateKeyPairSync, randomBytes, createHash } from 'node:crypto';
import { createServer } from 'node:http';
import { once } from 'node:events';
import * as oidc from 'oidc-provider';

const algorithms = ['ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519', 'PS256', 'PS384', 'PS512', 'RS256', 'RS384', 'RS512'];
const resource = (alg) => `https://orders.example/${alg}`;

function privateKey(alg) {
  if (alg === 'EdDSA' || alg === 'Ed25519') return generateKeyPairSync('ed25519').privateKey;
  if (alg.startsWith('ES')) {
    const namedCurve = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }[alg];
    return generateKeyPairSync('ec', { namedCurve }).privateKey;
  }
  return generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
}

async function listen(handler) {
  const server = createServer(handler);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return `http://127.0.0.1:${server.address().port}`;
}

// The relying parties: one listener for redirects and back-channel logout, one client for each algorithm.
const logoutTokens = new Map();
const relyingParty = await listen(async (request, response) => {
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.method === 'POST') {
    logoutTokens.set(request.url.slice('/logout/'.length), new URLSearchParams(body).get('logout_token'));
  }
  response.end();
});
const clients = algorithms.map((alg) => ({
  client_id: `client-${alg}`,
  client_secret: randomBytes(32).toString('base64url'),
  grant_types: ['authorization_code', 'client_credentials'],
  response_types: ['code'],
  redirect_uris: [`${relyingParty}/callback`],
  post_logout_redirect_uris: [`${relyingParty}/`],
  backchannel_logout_uri: `${relyingParty}/logout/${alg}`,
  backchannel_logout_session_required: true,
  id_token_signed_response_alg: alg,
  application_type: 'web',
}));

let handle;
const issuer = await listen((request, response) => handle(request, response));
const provider = new oidc.Provider(issuer, {
  clients,
  jwks: { keys: algorithms.map((alg) => ({ ...privateKey(alg).export({ format: 'jwk' }), alg, use: 'sig' })) },
  enabledJWA: { idTokenSigningAlgValues: algorithms },
  claims: { openid: ['sub'], email: ['email', 'email_verified'] },
  conformIdTokenClaims: false, // so that ID tokens carry personal data, as many providers' do
  cookies: { keys: [randomBytes(32).toString('base64url')] },
  ttl: { AccessToken: 600, ClientCredentials: 600, IdToken: 600, Grant: 600, Interaction: 600, Session: 600 },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true }),
  }),
  // The provider's own dispatcher refuses to deliver logout tokens to loopback, where the listener is.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  loadExistingGrant: async (ctx) => {
    const grant = new ctx.oidc.provider.Grant({ accountId: ctx.oidc.session.accountId, clientId: ctx.oidc.client.clientId });
    grant.addOIDCScope('openid email');
    for (const alg of algorithms) grant.addResourceScope(resource(alg), 'read write');
    await grant.save();
    return grant;
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: {
      enabled: true,
      logoutSource: (ctx, form) => { ctx.body = form; },
      postLogoutSuccessSource: (ctx) => { ctx.body = ''; },
    },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (_, indicator) => {
        const alg = indicator.slice('https://orders.example/'.length);
        return { scope: 'read write', audience: indicator, accessTokenFormat: 'jwt', accessTokenTTL: 600, jwt: { sign: { alg } } };
      },
    },
  },
});
provider.on('server_error', (_, error) => console.error(error));
const callback = provider.callback();
handle = async (request, response) => {
  if (!request.url.startsWith('/interaction/')) return callback(request, response);
  // The only person here is always at the keyboard.
  return provider.interactionFinished(request, response, { login: { accountId: 'alice' } });
};

// Progress goes to standard error, so that a launch that comes to a stop says where.
const progress = (text) => console.error(`${Math.round(performance.now())} ms: ${text}`);

// request is fetch that does not wait for ever for an answer.
const request = (url, options) => globalThis.fetch(url, { ...options, signal: AbortSignal.timeout(30_000) });

// A browser, as far as one is needed: cookies, and redirects within the provider.
function browser() {
  const cookies = new Map();
  return async function visit(address, options = {}) {
    let url = new URL(address, issuer);
    for (let hops = 0; hops < 10; hops += 1) {
      const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
      const response = await request(url, { ...options, redirect: 'manual', headers: { ...options.headers, cookie } });
      for (const line of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
        if (value) cookies.set(name, value); else cookies.delete(name);
      }
      const body = await response.text();
      const location = response.headers.get('location');
      if (!location) return { url, status: response.status, body };
      url = new URL(location, url);
      options = {};
      if (url.origin !== issuer) return { url, status: response.status, body: '' };
    }
    throw new Error(`too many redirects at ${url.pathname}`);
  };
}

async function requestToken(client, parameters) {
  const response = await request(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${client.client_id}:${client.client_secret}`).toString('base64')}` },
    body: new URLSearchParams(parameters),
  });
  const body = await response.json();
  if (!response.ok) throw new Error(`${client.client_id}: ${body.error}: ${body.error_description}`);
  return body;
}

// logIn is the authorization code flow with PKCE; it gives the token response.
async function logIn(client, visit, extra) {
  const verifier = randomBytes(32).toString('base64url');
  const query = new URLSearchParams({
    client_id: client.client_id,
    response_type: 'code',
    scope: 'openid email',
    redirect_uri: client.redirect_uris[0],
    nonce: randomBytes(16).toString('base64url'),
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
    ...extra,
  });
  const { url, body } = await visit(`/auth?${query}`);
  const code = url.searchParams.get('code');
  if (!code) throw new Error(`${client.client_id}: no code: ${url.search} ${body}`);
  return requestToken(client, {
    grant_type: 'authorization_code', code, code_verifier: verifier, redirect_uri: client.redirect_uris[0],
    ...(extra.resource && { resource: extra.resource }),
  });
}

// logOut ends the session as the relying party would start it and the person confirm it.
async function logOut(client, visit, idToken) {
  const { body } = await visit(`/session/end?${new URLSearchParams({ id_token_hint: idToken, post_logout_redirect_uri: client.post_logout_redirect_uris[0] })}`);
  const xsrf = /name="xsrf" value="([^"]+)"/.exec(body);
  if (!xsrf) throw new Error(`${client.client_id}: no logout form: ${body}`);
  await visit('/session/end/confirm', { method: 'POST', body: new URLSearchParams({ xsrf: xsrf[1], logout: 'yes' }) });
}

const tokens = { access_token: {}, user_access_token: {}, id_token: {}, logout_token: {} };
for (const [i, alg] of algorithms.entries()) {
  const client = clients[i];
  progress(`${alg}: the client's own token`);
  const own = await requestToken(client, { grant_type: 'client_credentials', resource: resource(alg), scope: 'read' });
  tokens.access_token[alg] = own.access_token;
  progress(`${alg}: log-in`);
  const visit = browser();
  const users = await logIn(client, visit, { resource: resource(alg), scope: 'openid email read' });
  tokens.user_access_token[alg] = users.access_token;
  tokens.id_token[alg] = users.id_token;
  progress(`${alg}: log-out`);
  await logOut(client, visit, users.id_token);
  tokens.logout_token[alg] = logoutTokens.get(alg);
  if (!tokens.logout_token[alg]) throw new Error(`${client.client_id}: no logout token was delivered`);
}
console.log(JSON.stringify({ issuer, tokens }));

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));

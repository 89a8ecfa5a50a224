// A resource server that knows nothing of Assay: jose from npm, configured by an issuer's metadata alone. It
// reads one JSON array of jobs from standard input and prints one JSON array of results.
import * as jose from 'jose';

const keySets = new Map();

// metadata finds an issuer's document where the standard named says, and its keys.
async function metadata(issuer, standard) {
  const url = new URL(issuer);
  const path = url.pathname.replace(/\/$/, '');
  url.pathname = standard === 'oauth' ? `/.well-known/oauth-authorization-server${path}` : `${path}/.well-known/openid-configuration`;
  const response = await fetch(url);
  if (response.status !== 200) throw new Error(`${url}: ${response.status}`);
  const document = await response.json();
  if (document.issuer !== issuer) throw new Error(`the document is of ${document.issuer}`);
  return document;
}

async function keysOf(issuer, standard) {
  const { jwks_uri: uri } = await metadata(issuer, standard);
  if (!keySets.has(uri)) keySets.set(uri, jose.createRemoteJWKSet(new URL(uri)));
  return keySets.get(uri);
}

async function verify({ issuer, standard, audience, token, privateKey }) {
  let compact = token;
  if (privateKey) {
    const { plaintext, protectedHeader } = await jose.compactDecrypt(token, await jose.importJWK(privateKey, 'RSA-OAEP-256'), {
      keyManagementAlgorithms: ['RSA-OAEP-256'], contentEncryptionAlgorithms: ['A256GCM'],
    });
    if (protectedHeader.cty !== 'JWT') throw new Error(`cty ${protectedHeader.cty}`);
    compact = new TextDecoder().decode(plaintext);
  }
  const keys = privateKey && !standard ? jose.createLocalJWKSet(issuer.keys) : await keysOf(issuer, standard);
  const { payload, protectedHeader } = await jose.jwtVerify(compact, keys, { issuer: issuer.name ?? issuer, audience, typ: 'at+jwt' });
  return { claims: payload, header: protectedHeader };
}

// seal encrypts a token to the one published key for that, as another issuer would.
async function seal({ keySet, token }) {
  const { keys } = await (await fetch(keySet)).json();
  const [jwk] = keys.filter((key) => key.use === 'enc');
  const sealed = await new jose.CompactEncrypt(new TextEncoder().encode(token))
    .setProtectedHeader({ alg: jwk.alg, enc: 'A256GCM', cty: 'JWT', kid: jwk.kid })
    .encrypt(await jose.importJWK(jwk, jwk.alg));
  return { token: sealed };
}

let text = '';
for await (const chunk of process.stdin) text += chunk;
const results = [];
for (const job of JSON.parse(text)) {
  try {
    results.push(await { verify, seal }[job.do](job));
  } catch (error) {
    results.push({ error: `${error.code ?? ''} ${error.message}` });
  }
}
console.log(JSON.stringify(results));

// An OpenID provider for tests: real protocol, people in memory, everything changeable from outside under /test/.
import fs from 'node:fs';
import https from 'node:https';
import Provider from 'oidc-provider';

const [, , keyFile, certFile, jwksFile] = process.argv;
let jwks = JSON.parse(fs.readFileSync(jwksFile, 'utf8'));
let clients = [];
let lifetimes = {};
const people = new Map(); // id -> {disabled, claims}
const overrides = new Map(); // path -> {status, headers, body}
const requests = [];
let issuer;
let handle;

const person = (id) => people.get(id) ?? { claims: {} };

function build() {
  const provider = new Provider(issuer, {
    clients,
    jwks,
    cookies: { keys: ['for tests only'] },
    claims: {
      openid: ['sub', 'groups'],
      profile: ['name', 'preferred_username'],
      email: ['email', 'email_verified'],
    },
    findAccount: (ctx, id) =>
      person(id).disabled
        ? undefined
        : { accountId: id, claims: () => ({ sub: id, preferred_username: id, name: `${id} of tests`, ...person(id).claims }) },
    extraTokenClaims: (ctx, token) => ({ preferred_username: token.accountId, ...person(token.accountId).claims }),
    rotateRefreshToken: true,
    issueRefreshToken: (ctx, client, code) => client.grantTypeAllowed('refresh_token') && code.scopes.has('offline_access'),
    ttl: { AccessToken: 600, IdToken: 600, DeviceCode: 600, Grant: 3600, Interaction: 600, RefreshToken: 3600, Session: 3600, ...lifetimes },
    features: {
      devInteractions: { enabled: true },
      deviceFlow: { enabled: true },
      revocation: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId },
      rpInitiatedLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: 'api',
          audience: resource,
          accessTokenFormat: 'jwt',
          jwt: { sign: { alg: 'RS256' } },
        }),
      },
    },
  });
  provider.on('server_error', (ctx, error) => console.error(error));
  handle = provider.callback();
}

async function control(request, response, path) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const value = text ? JSON.parse(text) : null;
  let answer = null;
  if (path === '/test/clients') clients = value;
  else if (path === '/test/keys') jwks = value;
  else if (path === '/test/lifetimes') lifetimes = value;
  else if (path === '/test/people') people.set(value.id, value);
  else if (path === '/test/override') value.answer ? overrides.set(value.path, value.answer) : overrides.delete(value.path);
  else if (path === '/test/requests') answer = requests;
  if (['/test/clients', '/test/keys', '/test/lifetimes'].includes(path)) build();
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(answer));
}

const server = https.createServer({ key: fs.readFileSync(keyFile), cert: fs.readFileSync(certFile) }, (request, response) => {
  const path = request.url.split('?')[0];
  if (path.startsWith('/test/')) {
    control(request, response, path).catch((error) => {
      response.statusCode = 500;
      response.end(String(error));
    });
    return;
  }
  requests.push(path);
  const override = overrides.get(path);
  if (override) {
    response.writeHead(override.status ?? 200, { 'content-type': 'application/json', ...override.headers });
    response.end(override.body ?? '');
    return;
  }
  handle(request, response);
});
server.listen(0, '127.0.0.1', () => {
  issuer = `https://localhost:${server.address().port}`;
  build();
  console.log(issuer);
});
process.stdin.on('end', () => process.exit(0)).resume(); // ends with whoever started it

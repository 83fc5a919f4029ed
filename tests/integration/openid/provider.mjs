// A real OpenID provider (npm oidc-provider) whose people sign in without being asked, and whose tokens can
// be spoilt: POST /fault with a JSON object changes what the next tokens say, or how they are signed.
//
//   node provider.mjs REDIRECT_URI
//
// It prints its issuer, and ends with its standard input.
import { createRequire } from 'node:module';
import http from 'node:http';

// The packages are in the directory in which this is started.
const require = createRequire(process.cwd() + '/');
const { default: Provider } = await import(require.resolve('oidc-provider'));
const jose = await import(require.resolve('jose'));

const redirect = process.argv[2];
const makeKey = async (kid) => {
  const { privateKey } = await jose.generateKeyPair('RS256', { extractable: true });
  return { ...(await jose.exportJWK(privateKey)), kid, use: 'sig', alg: 'RS256' };
};
const isPublic = ({ kty, n, e, kid, use, alg }) => ({ kty, n, e, kid, use, alg });
const keys = [await makeKey('first')];

let fault = {};
let person = { sub: '248289761001', preferred_username: 'jane', groups: ['platform'] };

const server = http.createServer();
await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'egret',
    client_secret: 'a secret: with %',
    redirect_uris: [redirect],
    token_endpoint_auth_method: 'client_secret_basic',
    id_token_signed_response_alg: 'RS256',
  }],
  jwks: { keys },
  pkce: { required: () => true },
  conformIdTokenClaims: false,
  claims: { profile: ['preferred_username', 'groups'] },
  findAccount: (context, sub) => ({ accountId: sub, claims: async () => ({ ...person, sub }) }),
  features: { devInteractions: { enabled: false } },
  interactions: { url: (context, interaction) => `/interaction/${interaction.uid}` },
  cookies: { keys: ['for the tests alone'] },
});
provider.on('server_error', (context, error) => console.error(error));

// The token as it was, with other claims, or signed with another key.
const spoil = async (token) => {
  const claims = { ...jose.decodeJwt(token), ...fault.claims };
  for (const [name, value] of Object.entries(claims)) if (value === null) delete claims[name];
  if (fault.algorithm === 'none') return new jose.UnsecuredJWT(claims).encode();
  if (fault.algorithm === 'HS256') {
    const secret = new TextEncoder().encode(JSON.stringify(isPublic(keys[0])));
    return new jose.SignJWT(claims).setProtectedHeader({ alg: 'HS256', kid: keys[0].kid }).sign(secret);
  }
  let key = keys[0];
  if (fault.key === 'unpublished') key = await makeKey('unpublished');
  if (fault.key === 'forged') key = await makeKey(keys[0].kid);
  if (fault.key === 'rotated') {
    key = await makeKey(`key-${keys.length}`);
    keys.unshift(key);
  }
  const signed = new jose.SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid: key.kid });
  return signed.sign(await jose.importJWK(key, 'RS256'));
};

provider.use(async (context, next) => {
  await next();
  if (context.path === '/token' && context.body?.id_token) {
    context.body.id_token = await spoil(context.body.id_token);
  }
  if (context.path === '/jwks') context.body = { keys: keys.map(isPublic) };
  if (context.path === '/.well-known/openid-configuration' && fault.issuer) {
    context.body = { ...context.body, issuer: fault.issuer };
  }
});

const body = async (request) => {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces).toString());
};

const interact = async (request, response) => {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === 'login') {
    return provider.interactionFinished(request, response, { login: { accountId: person.sub } });
  }
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  const grantId = await grant.save();
  return provider.interactionFinished(request, response, { consent: { grantId } }, { mergeWithLastSubmission: true });
};

const callback = provider.callback();
server.on('request', async (request, response) => {
  try {
    if (request.url === '/fault') {
      const sent = await body(request);
      if (sent.person) person = { ...person, ...sent.person };
      fault = sent.fault ?? {};
      response.end('ok');
    } else if (request.url.startsWith('/interaction/')) {
      await interact(request, response);
    } else {
      callback(request, response);
    }
  } catch (error) {
    console.error(error);
    response.statusCode = 500;
    response.end();
  }
});

// Nobody may be left to read what the library says.
process.stdout.on('error', () => {});
console.log(issuer);
process.stdin.on('end', () => process.exit(0)).resume();

// What a backend does with a Symple server: it says who comes in, and sends frames.
//
// As a program, for trying it out: `node backend.mjs session USER [ROOM…]`, `token USER [ROOM…]`, `emit TO DATA`,
// `post TO DATA KEY`. The settings are the server's own, in the environment.
import { createHmac, randomBytes } from 'node:crypto'
import { pathToFileURL } from 'node:url'

const API = 'http://127.0.0.1:4501'

// Makes a session in Redis; the token that the browser comes in with.
export async function session(db, user, rooms, seconds = 3600) {
  const token = randomBytes(32).toString('base64url')
  await db.setEx(`symple:session:${token}`, seconds, JSON.stringify({ user, rooms }))
  return token
}

// A JSON Web Token that says the same, and needs no Redis.
export function token(secret, user, rooms, seconds = 3600) {
  const encode = part => Buffer.from(JSON.stringify(part)).toString('base64url')
  const exp = Math.floor(Date.now() / 1000) + seconds
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode({ sub: user, rooms, exp })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

// Sends a frame over Redis: whoever its `to` names gets it, if the server is there just now.
export async function emit(db, frame) {
  await db.publish('symple:broadcast', JSON.stringify(frame))
}

// Sends a frame over HTTP, once however often it is tried; how many got it.
export async function post(key, frame, once) {
  const answer = await fetch(`${API}/v1/emit`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'idempotency-key': once },
    body: JSON.stringify(frame),
    signal: AbortSignal.timeout(10_000)
  })
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`)
  return answer.json()
}

async function main(command, ...given) {
  const settings = process.env
  const event = (to, data) => ({ type: 'event', name: 'deployed', to, data: JSON.parse(data) })
  if (command === 'token') return console.log(token(settings.SYMPLE_JWT_SECRET, given[0], given.slice(1)))
  if (command === 'post') {
    return console.log(JSON.stringify(await post(settings.SYMPLE_ADMIN_KEY, event(given[0], given[1]), given[2])))
  }
  const { createClient } = await import('redis')
  const db = await createClient({ url: settings.SYMPLE_REDIS_URL }).connect()
  if (command === 'session') console.log(await session(db, given[0], given.slice(1)))
  if (command === 'emit') await emit(db, event(given[0], given[1]))
  await db.close()
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main(...process.argv.slice(2))

// Drives the JavaScript client from a folder as an application does, and tells what the
// application saw: node --input-type=module -e THIS -- FOLDER URL GROUP
import { createRequire } from 'node:module'
import { createInterface } from 'node:readline'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'

const [folder, url, group] = process.argv.slice(-3)
const root = resolve(folder)
globalThis.WebSocket = createRequire(`${root}/package.json`)('ws').WebSocket
const { default: SympleClient } = await import(pathToFileURL(`${root}/src/index.js`))

const PATIENCE = 4000
// The client tries only once after this; long enough for any server to be there again.
const RECONNECTION_DELAY = 3000

// A client that is closed as soon as it is welcome still sends its first presence, and throws.
process.on('uncaughtException', error => {
  if (error.message !== 'Cannot send messages while offline') throw error
})

const say = line => process.stdout.write(`${JSON.stringify(line)}\n`)
const answers = []
createInterface({ input: process.stdin }).on('line', line => answers.shift()?.(line))
// Asks for something to be done to the server.
const ask = what => new Promise((resolve, reject) => {
  answers.push(answer => answer === 'done' ? resolve() : reject(new Error(answer)))
  say({ ask: what })
})

// Waits until something is so.
async function until (what, is, patience = PATIENCE) {
  const end = Date.now() + patience
  while (!is()) {
    if (Date.now() > end) throw new Error(`not within ${patience} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

function holds (what, is) {
  if (!is) throw new Error(`not so: ${what}`)
}

const clients = []

// An application with a client: what it is told is in `seen`.
function application (user, options = {}) {
  const { rooms = [], ...rest } = options
  const client = new SympleClient({
    url,
    reconnectionDelay: RECONNECTION_DELAY,
    ...rest,
    peer: { user, name: user.toUpperCase(), ...rest.peer }
  })
  clients.push(client)
  const seen = {}
  for (const event of ['connect', 'disconnect', 'error', 'addPeer', 'removePeer', 'message', 'presence', 'command', 'event']) {
    seen[event] = []
    client.on(event, what => { seen[event].push(what) })
  }
  client.on('connect', () => { for (const room of rooms) client.join(room) })
  client.connect()
  const app = {
    client,
    seen,
    address: () => `${user}|${client.peer.id}`,
    online: () => until(`${user} is online`, () => client.online),
    sees: other => client.roster.get(other.client.peer.id) != null,
    messages: data => seen.message.filter(m => m.data === data).length
  }
  return app
}

let count = 0
// A name that no other check has.
const fresh = what => `${what}${++count}`

// Everything that `from` sent before has been handled: what is sent last arrives last. The client
// sends nothing to its own address, but takes this one for another.
async function arrived (from, to) {
  const mark = fresh('mark')
  from.client.send({ data: mark }, `|${to.client.peer.id}`)
  await until('what was sent last arrives', () => to.messages(mark) === 1)
}

// The client sends a probe in the next turn after it has connected: that has been handled, too.
async function settled (app) {
  await new Promise(resolve => setTimeout(resolve, 2))
  await arrived(app, app)
}

// Two who meet in a room: the first is there when the second comes.
async function pair (room) {
  const alice = application(fresh('alice'), { rooms: [room] })
  await alice.online()
  await settled(alice)
  const bob = application(fresh('bob'), { rooms: [room] })
  await bob.online()
  await until('the first sees the second', () => alice.sees(bob))
  return [alice, bob]
}

const groups = {
  open: {
    'connect: the client is online, with an id': async () => {
      const alice = application('alice')
      await alice.online()
      holds('there is an id', /^[0-9a-z]{10,}$/.test(alice.client.peer.id))
      holds('it was told once', alice.seen.connect.length === 1)
      holds('it is in its own roster', alice.sees(alice))
    },
    'connect: without a user there is an error': async () => {
      const nobody = application('', { peer: { user: '' } })
      await until('an error', () => nobody.seen.error.some(e => e.status === 401))
      holds('not online', !nobody.client.online)
    },
    'roster: those who are there see who joins': async () => {
      const [alice, bob] = await pair(fresh('room'))
      holds('with its name', alice.client.roster.get(bob.client.peer.id).name === bob.client.peer.name)
    },
    'roster: who joins late sees those who are there': async () => {
      const [alice, bob] = await pair(fresh('room'))
      await until('the second sees the first', () => bob.sees(alice))
      holds('with its name', bob.client.roster.get(alice.client.peer.id).name === alice.client.peer.name)
    },
    'roster: who joins long after it connected is seen': async () => {
      const room = fresh('room')
      const alice = application(fresh('alice'), { rooms: [room] })
      const bob = application(fresh('bob'))
      await alice.online()
      await bob.online()
      await settled(bob)
      bob.client.join(room)
      await until('the first sees the second', () => alice.sees(bob))
      await until('the second sees the first', () => bob.sees(alice))
    },
    'leave: both are out of each other\'s rosters': async () => {
      const room = fresh('room')
      const [alice, bob] = await pair(room)
      bob.client.leave(room)
      await until('the first is told', () => alice.seen.removePeer.length === 1)
      await until('it is gone', () => !alice.sees(bob) && !bob.sees(alice))
    },
    'disconnect: the others are told once': async () => {
      const [alice, bob] = await pair(fresh('room'))
      const id = bob.client.peer.id
      bob.client.disconnect()
      await until('it is gone', () => alice.client.roster.get(id) == null)
      await until('the application is told', () => bob.seen.disconnect.length === 1)
      holds('once', alice.seen.removePeer.length === 1)
      holds('not online', !bob.client.online)
    },
    'send: to a room': async () => {
      const room = fresh('room')
      const [alice, bob] = await pair(room)
      alice.client.send({ data: 'hello' }, room)
      await until('it arrives', () => bob.messages('hello') === 1)
      holds('nothing comes back', alice.messages('hello') === 0)
    },
    'send: to a peer, a user and an address': async () => {
      const [alice, bob] = await pair(fresh('room'))
      alice.client.send({ data: 'peer' }, alice.client.roster.get(bob.client.peer.id))
      alice.client.send({ data: 'user' }, bob.client.peer.user)
      alice.client.send({ data: 'address' }, bob.address())
      await until('all arrive', () => bob.seen.message.length === 3)
      holds('in order', bob.seen.message.map(m => m.data).join() === 'peer,user,address')
    },
    'send: once, however many rooms are shared': async () => {
      const [one, two] = [fresh('room'), fresh('room')]
      const [alice, bob] = await pair(one)
      alice.client.join(two)
      bob.client.join(two)
      await arrived(bob, alice)
      await arrived(alice, bob)
      alice.client.send({ data: 'once' })
      await arrived(alice, bob)
      holds('it arrives once', bob.messages('once') === 1)
    },
    'send: nested data and all scripts of the world survive': async () => {
      const [alice, bob] = await pair(fresh('room'))
      const data = { list: [1, -0.5, null, true, { deep: ['ÿ', '日本語', '🦀', '\u0000'] }], '': '' }
      alice.client.send({ data, extra: data }, bob.address())
      await until('it arrives', () => bob.seen.message.length === 1)
      const [m] = bob.seen.message
      holds('unchanged', JSON.stringify([m.data, m.extra]) === JSON.stringify([data, data]))
    },
    'send: commands and events': async () => {
      const [alice, bob] = await pair(fresh('room'))
      alice.client.send({ type: 'command', node: 'camera:on' }, bob.address())
      alice.client.send({ type: 'event', name: 'moved' }, bob.address())
      await until('both arrive', () => bob.seen.command.length + bob.seen.event.length === 2)
    },
    'send: an unknown type is answered with an error': async () => {
      const alice = application('alice')
      await alice.online()
      alice.client.send({ type: 'chat', data: 1 })
      await until('an error', () => alice.seen.error.some(e => e.status === 400))
      holds('still online', alice.client.online)
    },
    'respond: an answer finds its way': async () => {
      const [alice, bob] = await pair(fresh('room'))
      bob.client.on('message', m => { if (m.data === 'ping') bob.client.respond({ data: 'pong', from: m.from }) })
      bob.client.send({ data: 'hi' }, alice.address())
      await until('a message', () => alice.messages('hi') === 1)
      const m = alice.seen.message.find(m => m.data === 'hi')
      holds('from a peer of the roster', m.from.id === bob.client.peer.id)
      alice.client.respond({ data: 'answer', from: m.from })
      await until('the answer', () => bob.messages('answer') === 1)
      alice.client.send({ data: 'ping' }, bob.address())
      await until('the other answer', () => alice.messages('pong') === 1)
    },
    'presence: what a peer tells of itself is in the rosters': async () => {
      const [alice, bob] = await pair(fresh('room'))
      bob.client.sendPresence({ data: { status: 'away' } })
      await until('it is there', () => alice.client.roster.get(bob.client.peer.id).status === 'away')
    },
    'presence: who comes later is told, too': async () => {
      const room = fresh('room')
      const [alice, bob] = await pair(room)
      bob.client.peer.status = 'away'
      bob.client.sendPresence()
      await until('it is there', () => alice.client.roster.get(bob.client.peer.id).status === 'away')
      const carol = application(fresh('carol'), { rooms: [room] })
      await carol.online()
      await until('it is known', () => carol.client.roster.get(bob.client.peer.id)?.status === 'away')
    },
    'presence: a probe is answered': async () => {
      const [alice, bob] = await pair(fresh('room'))
      const before = bob.seen.presence.length
      await arrived(alice, bob)
      bob.client.sendPresence({ probe: true })
      await until('an answer', () => bob.seen.presence.slice(before).some(p => p.to && p.data.id === alice.client.peer.id))
    },
    'capabilities: are known to the others, and can be taken back': async () => {
      const [alice, bob] = await pair(fresh('room'))
      const id = bob.client.peer.id
      bob.client.addCapability('video')
      bob.client.addCapability('resolution', '1080p')
      bob.client.sendPresence()
      await until('they are known', () => alice.client.hasCapability(id, 'video'))
      holds('with values', alice.client.getCapability(id, 'resolution') === '1080p')
      bob.client.removeCapability('video')
      await until('it is taken back', () => !alice.client.hasCapability(id, 'video'))
    },
    'call: from init to hangup': async () => {
      const [alice, bob] = await pair(fresh('room'))
      const said = []
      const answer = (app, replies) => app.client.on('message', m => {
        if (!m.subtype?.startsWith('call:')) return
        said.push(m.subtype)
        const reply = replies[m.subtype]
        if (reply) app.client.respond({ subtype: reply, data: { sdp: 'v=0\r\n' }, from: m.from })
      })
      answer(bob, { 'call:init': 'call:accept', 'call:offer': 'call:answer', 'call:candidate': 'call:hangup' })
      answer(alice, { 'call:accept': 'call:offer', 'call:answer': 'call:candidate' })
      alice.client.send({ subtype: 'call:init', data: {} }, alice.client.roster.get(bob.client.peer.id))
      await until('it is over', () => said.includes('call:hangup'))
      holds('in order', said.join() === ['init', 'accept', 'offer', 'answer', 'candidate', 'hangup'].map(s => `call:${s}`).join())
    },
    'shutdown: the application is told by name': async () => {
      const alice = application(fresh('alice'), { reconnection: false })
      await alice.online()
      await ask('shutdown')
      await until('the connection is closed', () => alice.seen.disconnect.length === 1)
      await ask('start')
      holds('an event', alice.seen.event.some(e => e.subtype === 'shutdown'))
      holds('with a name', alice.seen.event.some(e => e.name === 'shutdown'))
    },
    'reconnect: after a restart the client is online again': async () => {
      const room = fresh('room')
      const alice = application(fresh('alice'), { rooms: [room] })
      await alice.online()
      const before = alice.client.peer.id
      await ask('restart')
      await until('told of the end', () => alice.seen.disconnect.length === 1)
      await until('told of the start', () => alice.seen.connect.length === 2, PATIENCE + RECONNECTION_DELAY)
      holds('with another id', alice.client.peer.id !== before)
      await arrived(alice, alice)
      const bob = application(fresh('bob'))
      await bob.online()
      bob.client.send({ data: 'again' }, room)
      await until('in its room again', () => alice.messages('again') === 1)
    },
    'reconnect: after a restart the rosters are right again': async () => {
      const [alice, bob] = await pair(fresh('room'))
      // One behind the other, so that it does not depend on chance who probes whom.
      bob.client.options.reconnection = false
      await ask('restart')
      await until('the first is there', () => alice.seen.connect.length === 2, PATIENCE + RECONNECTION_DELAY)
      await settled(alice)
      bob.client.connect()
      await until('the second is there', () => bob.seen.connect.length === 2)
      await until('both see each other', () => alice.sees(bob) && bob.sees(alice))
    }
  },
  tokens: {
    'token: the right one gives the rooms behind it': async () => {
      const alice = application(fresh('alice'), { token: 'good' })
      const bob = application(fresh('bob'), { token: 'good' })
      await alice.online()
      await bob.online()
      alice.client.send({ data: 'team' }, 'team')
      await until('it arrives', () => bob.messages('team') === 1)
    },
    'token: the wrong one gives an error': async () => {
      const mallory = application(fresh('mallory'), { token: 'wrong' })
      await until('an error', () => mallory.seen.error.some(e => e.status === 401))
      holds('not online', !mallory.client.online && mallory.seen.connect.length === 0)
    },
    'token: after the wrong one the connection is closed': async () => {
      const mallory = application(fresh('mallory'), { token: 'wrong' })
      await until('the application is told', () => mallory.seen.disconnect.length === 1)
    },
    'token: nobody else sees it, nor the address': async () => {
      const alice = application(fresh('alice'), { token: 'good' })
      await alice.online()
      const bob = application(fresh('bob'), { token: 'good' })
      await bob.online()
      await until('the first sees the second', () => alice.sees(bob))
      const known = JSON.stringify(alice.seen.addPeer.concat(alice.seen.presence))
      holds('no token', !known.includes('"token"'))
      holds('no address', !known.includes('127.0.0.1'))
    }
  },
  locked: {
    'locked: to join is refused with a status': async () => {
      const alice = application(fresh('alice'))
      await alice.online()
      alice.client.join('room')
      await until('an error', () => alice.seen.error.some(e => e.message === 'Dynamic rooms disabled'))
      holds('with its status', alice.seen.error.some(e => e.status === 403))
      holds('still online', alice.client.online)
    }
  }
}

for (const [check, run] of Object.entries(groups[group])) {
  try {
    await run()
    say({ check, passed: true })
  } catch (error) {
    say({ check, passed: false, because: error.message })
  }
  for (const client of clients.splice(0)) client.shutdown()
}
process.exit(0)

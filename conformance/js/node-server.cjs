// Runs the original server from a folder: node -e THIS -- FOLDER SETTINGS
const path = require('path')
const [folder, settings] = process.argv.slice(-2)
const { hook, ...config } = JSON.parse(settings)
if (!config.redis) delete config.redis
const Symple = require(path.resolve(folder, 'lib/symple.js'))
const server = new Symple(config)

if (hook) {
  server.authenticate = async (peer, auth) => {
    const answer = hook[auth.token] || hook['*']
    const { delay_ms: delay, throws, ...rest } = answer
    if (delay) await new Promise(resolve => setTimeout(resolve, delay))
    if (throws !== undefined) throw new Error(throws)
    return 'returns' in rest ? rest.returns : rest
  }
}

server.init()

// Any word on the standard input asks for the end.
process.stdin.once('data', () => {
  process.stdin.destroy()
  server.shutdown()
})

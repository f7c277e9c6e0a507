// Runs a workflow with Homestar's own client and prints what it is told: `node client.mjs ws://… CID`.
import { WebsocketTransport } from '@fission-codes/channel/transports/ws.js'
import { Homestar } from '@fission-codes/homestar'
import { workflow } from '@fission-codes/homestar/workflow'
import { WebSocket } from 'unws'

const [url, component] = process.argv.slice(2)
const patience = 30_000
const late = setTimeout(() => {
  console.error(`not every task was told within ${patience} ms`)
  process.exit(1)
}, patience)

const homestar = new Homestar({ transport: new WebsocketTransport(url, { ws: WebSocket }) })
homestar.on('error', (error) => {
  console.error(error)
  process.exit(1)
})

const ok = ({ error, result }) => {
  if (error) throw error
  return result
}
const health = ok(await homestar.health())
const node = ok(await homestar.node())
const metrics = ok(await homestar.metrics())

const call = (name, func, args) => ({
  run: { name, input: { func, args }, nnc: '', op: 'wasm/run', rsc: `ipfs://${component}` },
  cause: null,
  meta: { memory: 1 << 30, time: 10_000 },
  prf: [],
})
const made = await workflow({
  name: 'two-steps',
  workflow: { tasks: [call('sum', 'add', [1.5, 2]), call('half', 'divide', ['{{needs.sum.output}}', 2])] },
})

// Twice: the second time everything is replayed.
const runs = []
for (let round = 0; round < 2; round += 1) {
  const told = []
  runs.push(told)
  await new Promise((resolve, reject) => {
    homestar
      .runWorkflow(made, ({ metadata, receipt, receipt_cid }) => {
        told.push({
          name: metadata.name,
          replayed: metadata.replayed,
          workflow: metadata.workflow.toString(),
          ran: receipt.ran.toString(),
          out: receipt.out,
          issuer: receipt.iss,
          receipt: receipt_cid.toString(),
        })
        if (told.length === made.workflow.tasks.length) resolve()
      })
      .then(({ error }) => error && reject(error))
  })
}
clearTimeout(late)
homestar.close()
console.log(JSON.stringify({ health, node, metrics, runs }))
process.exit(0)

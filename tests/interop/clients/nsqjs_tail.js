// nsqjs: prints every message of a topic; TOPIC CHANNEL LOOKUPD...
const nsq = require('nsqjs')

const [topic, channel, ...lookupds] = process.argv.slice(2)
const reader = new nsq.Reader(topic, channel, {
  lookupdHTTPAddresses: lookupds,
  lookupdPollInterval: 1,
  maxInFlight: 10,
})
reader.on('message', (message) => {
  process.stdout.write(`${message.body.toString()}\n`)
  message.finish()
})
reader.on('error', (error) => console.error(error))
reader.connect()

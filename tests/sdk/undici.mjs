// Node's HTTP client through a forward proxy; see tests/system/forward/clients.rs.
import { readFileSync } from 'node:fs'
import { ProxyAgent, fetch } from 'undici'

const given = JSON.parse(process.argv[2])
const ca = readFileSync(given.roots, 'utf8')
const token = (password) => `Basic ${Buffer.from(`${given.user}:${password}`).toString('base64')}`

const ask = async (proxy, proxyTunnel, password, url, body) => {
  const dispatcher = new ProxyAgent({ uri: given[proxy], proxyTunnel, token: token(password), requestTls: { ca }, proxyTls: { ca } })
  try {
    const told = new Set()
    for (let number = 0; number < 3; number += 1) {
      const answer = await fetch(given[url], { method: 'POST', body, dispatcher, duplex: 'half' })
      told.add(`${answer.status} ${await answer.text()}`)
    }
    return [...told].join(' ')
  } catch (error) {
    const causes = []
    for (let cause = error; cause; cause = cause.cause) causes.push(String(cause))
    return causes.join().includes('(407)') ? 'refused 407' : causes.join()
  } finally {
    await dispatcher.close()
  }
}

const told = {}
for (const proxy of ['plain', 'secured']) {
  for (const url of ['http', 'https']) {
    const key = `${proxy} ${url}`
    told[key] = await ask(proxy, true, given.password, url, 'body')
    told[`${key} large`] = await ask(proxy, true, given.password, url, 'x'.repeat(2_000_000))
    told[`${key} wrong`] = await ask(proxy, true, given.wrong, url, 'body')
  }
}
told['plain http forwarded'] = await ask('plain', false, given.password, 'http', 'body')
console.log(JSON.stringify(told))

import { errnoOf } from './errors.ts'

/** Whether a process listens on the unix socket at `path`. */
export async function isAnswered(path: string): Promise<boolean> {
  const { connect } = await import('node:net')
  return new Promise(resolve => {
    const socket = connect(path)
    const answer = (answered: boolean): void => {
      socket.destroy()
      resolve(answered)
    }
    socket.once('connect', () => {
      answer(true)
    })
    socket.once('error', error => {
      answer(!['ENOENT', 'ECONNREFUSED', 'ENOTSOCK'].includes(errnoOf(error) ?? ''))
    })
  })
}

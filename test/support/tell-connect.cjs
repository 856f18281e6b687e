/** Loaded before the program (`node --require`): says "connecting" on standard error when it turns to an owner. */
const net = require('node:net')
const { writeSync } = require('node:fs')

const { connect } = net.Socket.prototype
net.Socket.prototype.connect = function (...args) {
  writeSync(2, 'connecting\n')
  return connect.apply(this, args)
}

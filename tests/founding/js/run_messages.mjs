// Sends each message of sample.js (object literals after comments), or only reads them (READ_ONLY=1).
import { readFileSync } from 'node:fs';
import { frames, report, sockets, until } from './surroundings.mjs';

const literals = readFileSync('sample.js', 'utf8').split(/^\/\/.*$/m).map((text) => text.trim()).filter(Boolean);
const messages = literals.map((text) => (0, eval)(`(${text})`));
if (!process.env.READ_ONLY) {
  new WebSocket(`${process.env.SERVER.replace('http', 'ws')}/ws/dating_show/`);
  await until('the greeting', () => frames.length > 0);
  messages.forEach((message) => sockets[0].send(JSON.stringify(message)));
  await until('a pong', () => frames.some(({ type }) => type === 'pong'));
}
report({ messages, answers: frames.filter(({ type }) => type !== 'agent_update') });

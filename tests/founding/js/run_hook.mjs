// Runs a React program (sample.jsx, which leaves a `DatingShowDashboard` and needs an `AgentCard`) in a page.
import { build } from 'esbuild';
import { Window } from 'happy-dom';
import { elsewhere, frames, report, sockets, until } from './surroundings.mjs';

const window = new Window({ url: process.env.SERVER });
for (const [name, value] of Object.entries({ window, document: window.document, navigator: window.navigator })) {
  Object.defineProperty(globalThis, name, { value, configurable: true });
}
const { createElement } = await import('react');
const { createRoot } = await import('react-dom/client');
await build({
  entryPoints: ['sample.jsx'],
  outfile: 'built.mjs',
  bundle: true,
  format: 'esm',
  jsx: 'automatic',
  packages: 'external',
  logLevel: 'error',
});
const { DatingShowDashboard } = await import('./built.mjs');

const shown = {}; // the newest state each card was rendered with
globalThis.AgentCard = ({ agent, onAction }) => {
  shown[agent.agent_id] = agent;
  const go = () => onAction('move', { location: elsewhere(agent) });
  return createElement('button', { id: agent.agent_id, onClick: go }, `${agent.name}: ${agent.current_location}`);
};
const page = window.document.createElement('div');
window.document.body.append(page);
const root = createRoot(page);
root.render(createElement(DatingShowDashboard));
const status = () => page.textContent.match(/Status: (connecting|connected|disconnected)/)?.[1];

await until('the first picture', () => status());
const statuses = [status()];
await until('a connection', () => status() === 'connected');
statuses.push(status());
await until('eight cards', () => page.querySelectorAll('button').length >= 8);

const place = elsewhere(shown.agent_001);
page.querySelector('#agent_001').click();
const answer = await until('an answer', () => frames.find(({ type }) => type === 'action_queued' || type === 'error'));
await until('the move', () => page.querySelector('#agent_001').textContent.endsWith(`: ${place}`));
const cards = page.querySelectorAll('button').length;

sockets[0].close();
await until('the end', () => status() === 'disconnected');
statuses.push(status());
root.unmount();
report({ statuses, cards, answer, state: shown.agent_001 });

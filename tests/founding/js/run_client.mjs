// Runs a client program (sample.mjs, which leaves a `client`): agents arrive, an action reaches the server.
import { elsewhere, frames, report, until } from './surroundings.mjs';

const { client } = await import('./sample.mjs');
const agents = {};
client.updateAgentUI = (id, state) => { agents[id] = state; }; // what a page would draw

await until('eight agents', () => Object.keys(agents).length >= 8);
const place = elsewhere(agents.agent_001);
client.sendAgentAction('agent_001', 'move', { location: place });
const answer = await until('an answer', () => frames.find(({ type }) => type === 'action_queued' || type === 'error'));
if (answer.type === 'action_queued') await until('the move', () => agents.agent_001.current_location === place);
report({ agents: Object.keys(agents), answer, first: frames[0].type, state: agents.agent_001 });

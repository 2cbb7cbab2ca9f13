// A founding React client in our words: the newest state of each agent, the connection's status, actions.
import { useCallback, useEffect, useRef, useState } from 'react';

function useVilla(address) {
  const socket = useRef(null);
  const [status, setStatus] = useState('connecting');
  const [agents, setAgents] = useState({});
  useEffect(() => {
    const opened = new WebSocket(address);
    socket.current = opened;
    opened.onopen = () => setStatus('connected');
    opened.onclose = () => setStatus('disconnected');
    opened.onmessage = ({ data }) => {
      const { type, agent_id, data: state } = JSON.parse(data);
      if (type === 'agent_update') setAgents((known) => ({ ...known, [agent_id]: state }));
    };
    return () => opened.close();
  }, [address]);
  const act = useCallback((agent_id, action, params = {}) => {
    socket.current?.send(JSON.stringify({ type: 'agent_action', agent_id, action, params }));
  }, []);
  return { agents, status, act };
}

function DatingShowDashboard() {
  const { agents, status, act } = useVilla('ws://localhost:8001/ws/dating_show/');
  return (
    <main>
      <p>Status: {status}</p>
      {Object.entries(agents).map(([id, agent]) => (
        <AgentCard key={id} agent={agent} onAction={(action, params) => act(id, action, params)} />
      ))}
    </main>
  );
}
